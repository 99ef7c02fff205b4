// The random numbers of dropout, the same in every kernel, and who won a pool's window.

#include <cstdint>

namespace {

using std::int32_t;
using std::int64_t;
using std::uint32_t;
using std::uint8_t;

constexpr uint8_t NOBODY = 255;  // the winner of a window whose gradient goes nowhere

// The integer mixer of engine/random.py, on unsigned numbers.
template <class Bits>
inline Bits mixed(Bits bits) {
    bits ^= bits >> 16;
    bits *= 0x7FEB352Du;
    bits ^= bits >> 15;
    bits *= 0x846CA68Bu;
    return bits ^ (bits >> 16);
}

// Inverted dropout as Draw.keep makes it: four numbers share a word where the rate is a multiple of 1/256.
struct Dropout {
    const int32_t* rows;  // (N,) the hash of each sample; null for no dropout
    int32_t by_bytes;     // whether a byte decides, else a whole word
    uint32_t threshold;   // what is below it is dropped
    float scale;          // 1 / (1 - rate)

    bool on() const { return rows != nullptr; }
    float factor() const { return rows ? scale : 1.0f; }
    Dropout from(int64_t sample) const { return {rows ? rows + sample : nullptr, by_bytes, threshold, scale}; }

    // Factors (0 or scale) of `lanes` numbers of one sample: first, first + step, first + 2 step, …
    inline void factors(int64_t sample, uint32_t first, uint32_t step, int lanes, float* to) const {
        const uint32_t row = uint32_t(rows[sample]), below = threshold;
        const float kept = scale;
        if (by_bytes) {
            for (int c = 0; c < lanes; c++) {
                const uint32_t number = first + uint32_t(c) * step;
                const uint32_t bits = mixed(row + (number >> 2) * 0x9E3779B9u);
                to[c] = ((bits >> (8 * (number & 3))) & 255u) >= below ? kept : 0.0f;
            }
        } else {
            for (int c = 0; c < lanes; c++) {
                const uint32_t bits = mixed(row + (first + uint32_t(c) * step) * 0x9E3779B9u);
                to[c] = (bits ^ 0x80000000u) >= below ? kept : 0.0f;
            }
        }
    }

    // The same for a register of numbers of one sample: all ones where it is dropped.
    template <class Bits>
    inline Bits dropped(int64_t sample, Bits numbers) const {
        const uint32_t row = uint32_t(rows[sample]);
        if (by_bytes) {
            const Bits bits = mixed(row + (numbers >> 2) * 0x9E3779B9u);
            return Bits(((bits >> (8 * (numbers & 3))) & 255) < threshold);
        }
        return Bits((mixed(row + numbers * 0x9E3779B9u) ^ 0x80000000u) < threshold);
    }
};

}  // namespace

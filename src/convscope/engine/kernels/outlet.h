// What a convolution hands on, and the gradient that comes back: a 2×2 max-pool, relu and dropout in registers. Needs
// dropout.h and vectors.h.

namespace {

// The largest of a window's four numbers, and which it is; not a number wins over all.
inline void pooled(const Vector top[2], const Vector bottom[2], Vector& best, Words& winner) {
    const Vector numbers[] = {top[0], top[1], bottom[0], bottom[1]};
    best = numbers[0];
    winner = Words{};
#pragma GCC unroll 4
    for (uint32_t tap = 1; tap < 4; ++tap) {
        const auto wins = (numbers[tap] > best) | (numbers[tap] != numbers[tap]);
        best = wins ? numbers[tap] : best;
        winner = wins ? Words{} + tap : winner;
    }
}

inline void take_away(Words where, Vector& best, Words& winner) {
    best = Vector(~where & Words(best));
    winner = where ? Words{} + NOBODY : winner;
}

// Dropout of a register of channels, whose numbers in the sample start at `first` and go up by `step`.
inline void drop(const Dropout& dropout, int64_t image, int64_t first, int64_t step, Vector& best, Words& winner) {
    Words numbers;
    for (int64_t i = 0; i < WIDTH; ++i) numbers[i] = uint32_t(i);
    best *= dropout.scale;
    take_away(dropout.dropped(image, numbers * uint32_t(step) + uint32_t(first)), best, winner);
}

// What a convolution hands on: maps, and after a pool also who won each window (null for scoring).
template <class T>
struct Outlet {
    T* out;
    uint8_t* winner;
    Dropout dropout;
    const T* end;  // where it comes to lie at last

    Outlet from(int64_t number) const {
        return {out + number, winner ? winner + number : nullptr, dropout, end ? end + number : nullptr};
    }
    void write(int64_t at, Vector value) const { store(out + at, value); }
    void write(int64_t at, Vector best, Words who) const {
        store(out + at, best);
        if (winner) store(winner + at, who);
    }
};

// The gradient that comes back: of the maps that were written, which are there to say where a relu was off, or who won
// each window of a pool, with the dropout's factor.
template <class T>
struct Inlet {
    const T *gradient, *out;
    const uint8_t* winner;
    float scale;

    Inlet from(int64_t number) const {
        return {gradient + number, out ? out + number : nullptr, winner ? winner + number : nullptr, scale};
    }
};

}  // namespace

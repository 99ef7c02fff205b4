// The sizes of a convolution of few input maps (a picture's own), and where the numbers of its windows lie.

#include <cstdint>

namespace {

constexpr int FEW_WIDTH = 32, FEW_TAPS = 64, FEW_ROWS = 8192;  // as `is_few` in operations.py

struct Few {
    std::int64_t images, height, width, in_channels, out_height, out_width, out_channels;
    std::int64_t size_y, size_x, stride_y, stride_x, pad_y, pad_x;

    std::int64_t taps() const { return size_y * size_x * in_channels; }
    std::int64_t row() const { return (width + 2 * pad_x) * in_channels; }  // with its border
};

// Where each number of a window lies in rows with their border, in the order (size_y, size_x, in_channels).
inline void places_of(const Few& f, std::int64_t* places) {
    const std::int64_t run = f.size_x * f.in_channels;
    for (std::int64_t t = 0; t < f.taps(); t++) places[t] = (t / run) * f.row() + t % run;
}

}  // namespace

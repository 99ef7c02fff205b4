// The steps between convolutions, each in one pass over memory. Built by `library.py`, called by `operations.py`.
//
// Maps lie pixel by pixel: (N, H, W, C), C next to each other. A number is float or bfloat16 (the upper half of a
// float's bits); all arithmetic is float. Sums over images are made in parts that do not depend on the number of
// threads, so that every number of threads gives the same bits. Source of every formula: the reference modules.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

#include "dropout.h"
#include "few.h"

namespace {

using bfloat16 = uint16_t;
using std::int32_t;
using std::int64_t;
using std::uint32_t;
using std::uint8_t;

constexpr int LANES = 64;         // channels handled together: four vectors of sixteen floats

inline float wide(float value) { return value; }
inline float wide(bfloat16 value) { return __builtin_bit_cast(float, uint32_t(value) << 16); }

inline void narrow(float value, float* to) { *to = value; }
inline void narrow(float value, bfloat16* to) {  // to the nearest, halves to even
    const uint32_t bits = __builtin_bit_cast(uint32_t, value);
    const uint32_t rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
    *to = bfloat16(value != value ? 0x7FC0 : rounded);
}

// Rows of numbers. The processor's own rounding where it has one: the same but for numbers below 1e-38, which are 0.
inline void narrow(const float* from, float* to, int lanes) {  // memcpy would be a call
    for (int c = 0; c < lanes; c++) to[c] = from[c];
}
inline void narrow(const float* from, bfloat16* to, int lanes) {
    int c = 0;
#ifdef __AVX512BF16__
    for (; c + 16 <= lanes; c += 16)
        _mm256_storeu_si256((__m256i*)(to + c), (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(from + c)));
#endif
    for (; c < lanes; c++) narrow(from[c], to + c);
}

template <class T>
inline void widen(const T* from, float* to, int lanes) {
    for (int c = 0; c < lanes; c++) to[c] = wide(from[c]);
}

inline void rectify(float* values, int lanes) {  // not a number stays what it is
    for (int c = 0; c < lanes; c++) values[c] = values[c] <= 0.0f ? 0.0f : values[c];
}

// Zero where the output of a relu is zero.
template <class T>
inline void mask(float* values, const T* out, int lanes) {
    for (int c = 0; c < lanes; c++) values[c] = wide(out[c]) <= 0.0f ? 0.0f : values[c];
}

inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

// Calls work(first, lanes) for every block of channels. A full block's size is known to the compiler.
template <class Work>
inline void in_blocks(int64_t channels, const Work& work) {
    int64_t first = 0;
    for (; first + LANES <= channels; first += LANES) work(first, std::integral_constant<int, LANES>{});
    if (first < channels) work(first, int(channels - first));
}

// The same with a smaller block that the compiler knows, where work on one of unknown size takes many times as long.
template <class Work>
inline void in_smaller_blocks(int64_t channels, const Work& work) {
    int64_t first = 0;
    for (; first + LANES <= channels; first += LANES) work(first, std::integral_constant<int, LANES>{});
    if (first + 32 <= channels) work(first, std::integral_constant<int, 32>{}), first += 32;
    if (first < channels) work(first, int(channels - first));
}

// Few channels fill a block only with those of several pixels: how many, and one channel's number for each of them.
inline int64_t pixels_a_block(int64_t pixels, int64_t channels) {
    const int64_t fitting = LANES / channels;
    return channels < LANES && LANES % channels == 0 && pixels % fitting == 0 ? fitting : 1;
}

template <class T>
struct Repeated {
    T block[LANES];
    const T* numbers;

    Repeated(const T* by_channel, int64_t channels, int64_t times) : numbers(times > 1 ? block : by_channel) {
        for (int64_t c = 0; times > 1 && c < LANES; c++) block[c] = by_channel[c % channels];
    }
};

struct Window {
    int64_t images, height, width, channels, out_height, out_width, size_y, size_x, stride_y, stride_x, pad_y, pad_x;
};

// ---- max-pool, then relu, then dropout ----------------------------------------------------------------------------

template <class T>
void pool_pixel(const T* maps, T* out, uint8_t* winner, const Window& w, int64_t oy, int64_t ox, bool relu,
                const Dropout& dropout, int64_t image) {
    const int64_t y0 = oy * w.stride_y - w.pad_y, x0 = ox * w.stride_x - w.pad_x;
    const int64_t y_first = most(y0, 0), y_end = least(y0 + w.size_y, w.height);
    const int64_t x_first = most(x0, 0), x_end = least(x0 + w.size_x, w.width);
    const int64_t pixels = w.out_height * w.out_width, pixel = oy * w.out_width + ox;
    in_smaller_blocks(w.channels, [&](int64_t c0, auto lanes) {
        float best[LANES];
        int32_t at[LANES];
        const int32_t first = int32_t((y_first - y0) * w.size_x + (x_first - x0));
        for (int c = 0; c < lanes; c++) best[c] = -INFINITY, at[c] = first;
        for (int64_t y = y_first; y < y_end; y++) {
            for (int64_t x = x_first; x < x_end; x++) {
                const T* source = maps + (y * w.width + x) * w.channels + c0;
                const int32_t tap = int32_t((y - y0) * w.size_x + (x - x0));
                for (int c = 0; c < lanes; c++) {
                    const float value = wide(source[c]);
                    const bool wins = (value > best[c]) | (value != value);
                    best[c] = wins ? value : best[c];
                    at[c] = wins ? tap : at[c];
                }
            }
        }
        if (relu) {
            for (int c = 0; c < lanes; c++) {
                const bool off = best[c] <= 0.0f;
                best[c] = off ? 0.0f : best[c];
                at[c] = off ? NOBODY : at[c];
            }
        }
        if (dropout.on()) {
            float factor[LANES];
            dropout.factors(image, uint32_t(c0 * pixels + pixel), uint32_t(pixels), lanes, factor);
            for (int c = 0; c < lanes; c++) {
                at[c] = factor[c] == 0.0f ? NOBODY : at[c];
                best[c] = factor[c] == 0.0f ? 0.0f : best[c] * factor[c];
            }
        }
        narrow(best, out + c0, lanes);
        if (winner)
            for (int c = 0; c < lanes; c++) winner[c0 + c] = uint8_t(at[c]);
    });
}

template <class T>
void pool(const T* maps, T* out, uint8_t* winner, const Window& w, bool relu, const Dropout& dropout) {
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t n = 0; n < w.images; n++) {
        for (int64_t oy = 0; oy < w.out_height; oy++) {
            for (int64_t ox = 0; ox < w.out_width; ox++) {
                const int64_t to = ((n * w.out_height + oy) * w.out_width + ox) * w.channels;
                pool_pixel(maps + n * w.height * w.width * w.channels, out + to, winner ? winner + to : nullptr, w,
                           oy, ox, relu, dropout, n);
            }
        }
    }
}

// The gradient of one pixel: from every window that covers it and that it won.
template <class T>
void pool_gradient_pixel(const T* out_gradient, const uint8_t* winner, T* gradient, const Window& w, int64_t y,
                         int64_t x, float scale) {
    const int64_t oy_first = y + w.pad_y < w.size_y ? 0 : (y + w.pad_y - w.size_y) / w.stride_y + 1;
    const int64_t ox_first = x + w.pad_x < w.size_x ? 0 : (x + w.pad_x - w.size_x) / w.stride_x + 1;
    const int64_t oy_end = least((y + w.pad_y) / w.stride_y + 1, w.out_height);
    const int64_t ox_end = least((x + w.pad_x) / w.stride_x + 1, w.out_width);
    in_smaller_blocks(w.channels, [&](int64_t c0, auto lanes) {
        float sum[LANES] = {0.0f};
        for (int64_t oy = oy_first; oy < oy_end; oy++) {
            for (int64_t ox = ox_first; ox < ox_end; ox++) {
                const int64_t from = (oy * w.out_width + ox) * w.channels + c0;
                const int32_t tap =
                    int32_t((y + w.pad_y - oy * w.stride_y) * w.size_x + (x + w.pad_x - ox * w.stride_x));
                for (int c = 0; c < lanes; c++)
                    sum[c] += int32_t(winner[from + c]) == tap ? wide(out_gradient[from + c]) : 0.0f;
            }
        }
        for (int c = 0; c < lanes; c++) sum[c] *= scale;
        narrow(sum, gradient + c0, lanes);
    });
}

// The same where windows stand side by side: each is read once, and hands its gradient to one of its pixels.
template <class T>
void pool_gradient_window(const T* out_gradient, const uint8_t* winner, T* gradient, const Window& w, float scale) {
    in_smaller_blocks(w.channels, [&](int64_t c0, auto lanes) {
        float value[LANES];
        T handed[LANES];
        widen(out_gradient + c0, value, lanes);
        for (int c = 0; c < lanes; c++) value[c] *= scale;
        narrow(value, handed, lanes);
        const uint8_t* who = winner + c0;
        for (int64_t y = 0; y < w.size_y; y++) {
            for (int64_t x = 0; x < w.size_x; x++) {
                const uint8_t tap = uint8_t(y * w.size_x + x);
                T* to = gradient + (y * w.width + x) * w.channels + c0;
                for (int c = 0; c < lanes; c++) to[c] = who[c] == tap ? handed[c] : T(0);
            }
        }
    });
}

template <class T>
void pool_gradient_side_by_side(const T* out_gradient, const uint8_t* winner, T* gradient, const Window& w,
                                float scale) {
    const int64_t covered_y = w.out_height * w.size_y, covered_x = w.out_width * w.size_x;
#pragma omp parallel for schedule(static)
    for (int64_t n = 0; n < w.images; n++) {
        T* maps = gradient + n * w.height * w.width * w.channels;
        for (int64_t oy = 0; oy < w.out_height; oy++) {
            for (int64_t ox = 0; ox < w.out_width; ox++) {
                const int64_t from = ((n * w.out_height + oy) * w.out_width + ox) * w.channels;
                T* to = maps + (oy * w.size_y * w.width + ox * w.size_x) * w.channels;
                pool_gradient_window(out_gradient + from, winner + from, to, w, scale);
            }
        }
        for (int64_t y = 0; y < w.height; y++) {  // what no window covers
            const int64_t first = y < covered_y ? covered_x : 0;
            std::memset(maps + (y * w.width + first) * w.channels, 0, sizeof(T) * (w.width - first) * w.channels);
        }
    }
}

template <class T>
void pool_gradient(const T* out_gradient, const uint8_t* winner, T* gradient, const Window& w, float scale) {
    const bool no_border = w.pad_y == 0 && w.pad_x == 0 && w.out_height * w.size_y <= w.height &&
                           w.out_width * w.size_x <= w.width;
    if (no_border && w.stride_y == w.size_y && w.stride_x == w.size_x)
        return pool_gradient_side_by_side(out_gradient, winner, gradient, w, scale);
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t n = 0; n < w.images; n++) {
        for (int64_t y = 0; y < w.height; y++) {
            const int64_t from = n * w.out_height * w.out_width * w.channels;
            for (int64_t x = 0; x < w.width; x++)
                pool_gradient_pixel(out_gradient + from, winner + from,
                                    gradient + ((n * w.height + y) * w.width + x) * w.channels, w, y, x, scale);
        }
    }
}

// ---- relu and dropout, number by number ----------------------------------------------------------------------------

template <class T>
void relu_dropout(const T* in, T* out, int64_t images, int64_t pixels, int64_t channels, bool relu,
                  const Dropout& dropout) {
#pragma omp parallel for schedule(static)
    for (int64_t n = 0; n < images; n++) {
        for (int64_t p = 0; p < pixels; p++) {
            in_blocks(channels, [&](int64_t c0, auto lanes) {
                const int64_t from = (n * pixels + p) * channels + c0;
                float value[LANES], factor[LANES];
                widen(in + from, value, lanes);
                if (relu) rectify(value, lanes);
                if (dropout.on()) {
                    dropout.factors(n, uint32_t(c0 * pixels + p), uint32_t(pixels), lanes, factor);
                    for (int c = 0; c < lanes; c++) value[c] = factor[c] == 0.0f ? 0.0f : value[c] * factor[c];
                }
                narrow(value, out + from, lanes);
            });
        }
    }
}

// With a relu the output says which numbers let the gradient through; without one the dropout is drawn again.
template <class T>
void relu_dropout_gradient(const T* out_gradient, const T* out, T* gradient, int64_t images, int64_t pixels,
                           int64_t channels, bool relu, const Dropout& dropout) {
#pragma omp parallel for schedule(static)
    for (int64_t n = 0; n < images; n++) {
        for (int64_t p = 0; p < pixels; p++) {
            in_blocks(channels, [&](int64_t c0, auto lanes) {
                const int64_t from = (n * pixels + p) * channels + c0;
                float factor[LANES], value[LANES];
                if (relu) {
                    const float scale = dropout.factor();
                    for (int c = 0; c < lanes; c++) factor[c] = wide(out[from + c]) <= 0.0f ? 0.0f : scale;
                } else {
                    dropout.factors(n, uint32_t(c0 * pixels + p), uint32_t(pixels), lanes, factor);
                }
                widen(out_gradient + from, value, lanes);
                for (int c = 0; c < lanes; c++) value[c] = factor[c] == 0.0f ? 0.0f : value[c] * factor[c];
                narrow(value, gradient + from, lanes);
            });
        }
    }
}

// ---- the gradient that enters a convolution: through its relu, and summed for its bias ------------------------------

// `gradient` may be `out_gradient`; without a relu it is not written. `parts` (images, at least LANES or channels) is
// for sums by image.
template <class T>
void bias_gradient(const T* out_gradient, const T* out, T* gradient, float* parts, float* bias, int64_t images,
                   int64_t all_pixels, int64_t all_channels, bool relu) {
    const int64_t times = pixels_a_block(all_pixels, all_channels);
    const int64_t pixels = all_pixels / times, channels = all_channels * times;
#pragma omp parallel for schedule(static)
    for (int64_t n = 0; n < images; n++) {
        float* part = parts + n * channels;
        std::memset(part, 0, sizeof(float) * channels);
        for (int64_t p = 0; p < pixels; p++) {
            in_blocks(channels, [&](int64_t c0, auto lanes) {
                const int64_t from = (n * pixels + p) * channels + c0;
                float value[LANES];
                widen(out_gradient + from, value, lanes);
                if (relu) {
                    mask(value, out + from, lanes);
                    narrow(value, gradient + from, lanes);
                }
                for (int c = 0; c < lanes; c++) part[c0 + c] += value[c];
            });
        }
    }
    std::memset(bias, 0, sizeof(float) * all_channels);
    for (int64_t n = 0; n < images; n++)
        for (int64_t c = 0; c < channels; c++) bias[c % all_channels] += parts[n * channels + c];
}

// ---- convolution of few input maps (a picture's own): libraries are made for many -----------------------------------

// The picture's rows under one row of windows, float, zeros outside: (size_y, width + 2 pad_x, in_channels).
template <class T>
void rows_under(const T* picture, const Few& f, int64_t oy, float* rows) {
    const int64_t row_size = (f.width + 2 * f.pad_x) * f.in_channels;
    for (int64_t ky = 0; ky < f.size_y; ky++) {
        const int64_t y = oy * f.stride_y - f.pad_y + ky;
        float* row = rows + ky * row_size;
        const bool inside = y >= 0 && y < f.height;
        std::memset(row, 0, sizeof(float) * row_size);
        const T* from = picture + y * f.width * f.in_channels;
        for (int64_t i = 0; inside && i < f.width * f.in_channels; i++) row[f.pad_x * f.in_channels + i] = wide(from[i]);
    }
}

// weight (size_y, size_x, in_channels, out_channels), bias (out_channels,) or null, both float.
template <class T, int WIDTH>
void few_block(const float* rows, const int64_t* places, const float* weight, const float* bias, T* out, const Few& f,
               int64_t c0, bool relu) {
    constexpr int PIXELS = 4;  // outputs made side by side, so that each weight is loaded once for all of them
    const int64_t taps = f.taps(), step = f.stride_x * f.in_channels;
    for (int64_t x0 = 0; x0 < f.out_width; x0 += PIXELS) {
        const int64_t ox = least(x0, most(f.out_width - PIXELS, 0));  // the last ones are made twice
        const int count = int(least(PIXELS, f.out_width));
        float sum[PIXELS][WIDTH];
        for (int i = 0; i < PIXELS; i++)
            for (int c = 0; c < WIDTH; c++) sum[i][c] = bias ? bias[c0 + c] : 0.0f;
        const float *first = rows + ox * step, *second = first + step * least(1, count - 1),
                    *third = first + step * least(2, count - 1), *fourth = first + step * least(3, count - 1);
        for (int64_t t = 0; t < taps; t++) {
            const float* row = weight + t * f.out_channels + c0;
            const int64_t at = places[t];
            for (int c = 0; c < WIDTH; c++) sum[0][c] += first[at] * row[c];
            for (int c = 0; c < WIDTH; c++) sum[1][c] += second[at] * row[c];
            for (int c = 0; c < WIDTH; c++) sum[2][c] += third[at] * row[c];
            for (int c = 0; c < WIDTH; c++) sum[3][c] += fourth[at] * row[c];
        }
        for (int i = 0; i < count; i++) {
            T* to = out + (ox + i) * f.out_channels + c0;
            if (relu) rectify(sum[i], WIDTH);
            narrow(sum[i], to, WIDTH);
        }
    }
}

template <class T>
void few(const T* pictures, const float* weight, const float* bias, T* out, const Few& f, bool relu) {
    int64_t places[FEW_TAPS];
    places_of(f, places);
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t n = 0; n < f.images; n++) {
        for (int64_t oy = 0; oy < f.out_height; oy++) {
            float rows[FEW_ROWS];
            rows_under(pictures + n * f.height * f.width * f.in_channels, f, oy, rows);
            T* to = out + (n * f.out_height + oy) * f.out_width * f.out_channels;
            for (int64_t c0 = 0; c0 < f.out_channels; c0 += FEW_WIDTH)
                few_block<T, FEW_WIDTH>(rows, places, weight, bias, to, f, c0, relu);
        }
    }
}

// Adds one row of windows to the gradients of TAPS rows of the weight, from `first` on.
template <class T, int WIDTH, int TAPS>
void few_gradient_row(const float* rows, const int64_t* places, const T* out_gradient, const T* out, float* part,
                      float* bias, const Few& f, int64_t c0, int64_t first, bool relu) {
    const int64_t step = f.stride_x * f.in_channels;
    float sum[TAPS][WIDTH], total[WIDTH];
    for (int t = 0; t < TAPS; t++)
        for (int c = 0; c < WIDTH; c++) sum[t][c] = part[(first + t) * f.out_channels + c0 + c];
    for (int c = 0; c < WIDTH; c++) total[c] = 0.0f;
    for (int64_t ox = 0; ox < f.out_width; ox++) {
        const int64_t from = ox * f.out_channels + c0;
        float value[WIDTH];
        widen(out_gradient + from, value, WIDTH);
        if (relu) mask(value, out + from, WIDTH);
        for (int c = 0; c < WIDTH; c++) total[c] += value[c];
        const float* under = rows + ox * step;
        for (int t = 0; t < TAPS; t++)
            for (int c = 0; c < WIDTH; c++) sum[t][c] += under[places[first + t]] * value[c];
    }
    for (int t = 0; t < TAPS; t++)
        for (int c = 0; c < WIDTH; c++) part[(first + t) * f.out_channels + c0 + c] = sum[t][c];
    if (first == 0)
        for (int c = 0; c < WIDTH; c++) bias[c0 + c] += total[c];
}

// The gradients of weight (as above) and, as one more row, of the bias; through the relu on the way.
template <class T>
void few_gradient(const T* pictures, const T* out_gradient, const T* out, float* parts, float* total, const Few& f,
                  bool relu) {
    constexpr int TAPS = 9;
    const int64_t taps = f.taps(), size = (taps + 1) * f.out_channels;
    int64_t places[FEW_TAPS];
    places_of(f, places);
#pragma omp parallel for schedule(static)
    for (int64_t n = 0; n < f.images; n++) {
        float rows[FEW_ROWS], *part = parts + n * size, *bias = part + taps * f.out_channels;
        std::memset(part, 0, sizeof(float) * size);
        for (int64_t oy = 0; oy < f.out_height; oy++) {
            rows_under(pictures + n * f.height * f.width * f.in_channels, f, oy, rows);
            const int64_t to = (n * f.out_height + oy) * f.out_width * f.out_channels;
            for (int64_t c0 = 0; c0 < f.out_channels; c0 += FEW_WIDTH) {
                int64_t t = 0;
                for (; t + TAPS <= taps; t += TAPS)
                    few_gradient_row<T, FEW_WIDTH, TAPS>(rows, places, out_gradient + to, out + to, part, bias, f, c0,
                                                         t, relu);
                for (; t < taps; t++)
                    few_gradient_row<T, FEW_WIDTH, 1>(rows, places, out_gradient + to, out + to, part, bias, f, c0, t,
                                                      relu);
            }
        }
    }
    std::memset(total, 0, sizeof(float) * size);
    for (int64_t n = 0; n < f.images; n++)
        for (int64_t i = 0; i < size; i++) total[i] += parts[n * size + i];
}

// ---- batch norm, then the shortcut, then relu ------------------------------------------------------------------------

// One channel's sum over images, and over its places in a block; `parts` (images, 2, channels).
inline double folded(const float* parts, int64_t images, int64_t channels, int64_t all_channels, int64_t channel) {
    double sum = 0.0;
    for (int64_t n = 0; n < images; n++)
        for (int64_t c = channel; c < channels; c += all_channels) sum += parts[n * 2 * channels + c];
    return sum;
}

// What a norm makes of its channels: maps · scale + shift is the normalised map, by the mean and the biased variance.
struct Normal {
    float *mean, *variance, *inverse, *scale, *shift;

    Normal(float* numbers, int64_t channels)  // (5, channels)
        : mean(numbers), variance(mean + channels), inverse(variance + channels), scale(inverse + channels), shift(scale + channels) {}
};

// Sums of x - pivot and its square by image; the pivot, the first pixel, keeps large means from eating the variance.
template <class T>
void moments(const T* maps, const float* weight, const float* bias, float eps, float* parts, const Normal& normal,
             int64_t images, int64_t all_pixels, int64_t all_channels) {
    const int64_t times = pixels_a_block(all_pixels, all_channels);
    const int64_t pixels = all_pixels / times, channels = all_channels * times;
    const Repeated<T> first(maps, all_channels, times);
    const T* pivot = first.numbers;
#pragma omp parallel for schedule(static)
    for (int64_t n = 0; n < images; n++) {
        float *sum = parts + n * 2 * channels, *square = sum + channels;
        std::memset(sum, 0, sizeof(float) * 2 * channels);
        for (int64_t p = 0; p < pixels; p++) {
            const T* from = maps + (n * pixels + p) * channels;
            in_blocks(channels, [&](int64_t c0, auto lanes) {
                for (int c = 0; c < lanes; c++) {
                    const float value = wide(from[c0 + c]) - wide(pivot[c0 + c]);
                    sum[c0 + c] += value;
                    square[c0 + c] += value * value;
                }
            });
        }
    }
    const double count = double(images) * double(all_pixels);
    for (int64_t c = 0; c < all_channels; c++) {
        const double total = folded(parts, images, channels, all_channels, c),
                     squares = folded(parts + channels, images, channels, all_channels, c);
        const double shift = total / count, spread = squares / count - shift * shift;
        normal.mean[c] = float(wide(maps[c]) + shift);
        normal.variance[c] = float(spread > 0.0 || spread != spread ? spread : 0.0);
        normal.inverse[c] = 1.0f / std::sqrt(normal.variance[c] + eps);
        normal.scale[c] = weight[c] * normal.inverse[c];
        normal.shift[c] = bias[c] - normal.mean[c] * normal.scale[c];
    }
}

// out = maps · scale + shift (+ shortcut), relu.
template <class T>
void normalise(const T* maps, const Normal& normal, const T* shortcut, T* out, int64_t images, int64_t all_pixels,
               int64_t all_channels, bool relu) {
    const int64_t times = pixels_a_block(all_pixels, all_channels);
    const int64_t pixels = all_pixels / times, channels = all_channels * times;
    const Repeated<float> scales(normal.scale, all_channels, times), shifts(normal.shift, all_channels, times);
    const float *scale = scales.numbers, *shift = shifts.numbers;
#pragma omp parallel for schedule(static)
    for (int64_t n = 0; n < images; n++) {
        for (int64_t p = 0; p < pixels; p++) {
            in_blocks(channels, [&](int64_t c0, auto lanes) {
                const int64_t from = (n * pixels + p) * channels + c0;
                float value[LANES];
                for (int c = 0; c < lanes; c++) value[c] = wide(maps[from + c]) * scale[c0 + c] + shift[c0 + c];
                if (shortcut)
                    for (int c = 0; c < lanes; c++) value[c] += wide(shortcut[from + c]);
                if (relu) rectify(value, lanes);
                narrow(value, out + from, lanes);
            });
        }
    }
}

// Where the relu behind a norm is zero: as `out` says, or without it, as what the norm makes of the maps, which costs
// less than to read what was made.
template <class T>
struct Off {
    const T* out;
    const Repeated<float> scales, shifts;

    Off(const T* made, const float* scale, const float* shift, int64_t channels, int64_t times)
        : out(made), scales(scale, channels, times), shifts(shift, channels, times) {}

    void take_away(float* values, const T* maps, int64_t from, int64_t c0, int lanes) const {
        if (out) return mask(values, out + from, lanes);
        const float *scale = scales.numbers + c0, *shift = shifts.numbers + c0;
        for (int c = 0; c < lanes; c++)
            values[c] = wide(maps[from + c]) * scale[c] + shift[c] <= 0.0f ? 0.0f : values[c];
    }
};

// What the gradient is made of by channel: sums of g and of g · x̂, and with them g · scale + x · slope + offset.
struct Sloped {
    float *sum_g, *sum_gx, *slope, *offset;

    Sloped(float* numbers, int64_t channels)  // (4, channels)
        : sum_g(numbers), sum_gx(sum_g + channels), slope(sum_gx + channels), offset(slope + channels) {}
};

// g is the gradient through the relu, written to `through` where that is not null.
template <class T>
void norm_sums(const T* out_gradient, const T* out, const T* maps, const Normal& normal, T* through, float* parts,
               const Sloped& sloped, int64_t images, int64_t all_pixels, int64_t all_channels, bool relu) {
    const int64_t times = pixels_a_block(all_pixels, all_channels);
    const int64_t pixels = all_pixels / times, channels = all_channels * times;
    const Repeated<float> means(normal.mean, all_channels, times);
    const Off<T> off(out, normal.scale, normal.shift, all_channels, times);
    const float* mean = means.numbers;
#pragma omp parallel for schedule(static)
    for (int64_t n = 0; n < images; n++) {
        float *sum = parts + n * 2 * channels, *product = sum + channels;
        std::memset(sum, 0, sizeof(float) * 2 * channels);
        for (int64_t p = 0; p < pixels; p++) {
            in_blocks(channels, [&](int64_t c0, auto lanes) {
                const int64_t from = (n * pixels + p) * channels + c0;
                float value[LANES];
                widen(out_gradient + from, value, lanes);
                if (relu) off.take_away(value, maps, from, c0, lanes);
                if (through) narrow(value, through + from, lanes);
                for (int c = 0; c < lanes; c++) {
                    sum[c0 + c] += value[c];
                    product[c0 + c] += value[c] * (wide(maps[from + c]) - mean[c0 + c]);
                }
            });
        }
    }
    const float count = float(images) * float(all_pixels);
    for (int64_t c = 0; c < all_channels; c++) {
        const float inverse = normal.inverse[c], scale = normal.scale[c];
        const float g = float(folded(parts, images, channels, all_channels, c));
        const float gx = float(folded(parts + channels, images, channels, all_channels, c) * inverse);
        sloped.sum_g[c] = g;
        sloped.sum_gx[c] = gx;
        sloped.slope[c] = scale * inverse * gx / -count;
        sloped.offset[c] = scale * g / -count - sloped.slope[c] * normal.mean[c];
    }
}

// gradient = g · scale + x · slope + offset by channel, with g through the relu.
template <class T>
void norm_gradient(const T* out_gradient, const T* out, const T* maps, const Normal& normal, const Sloped& sloped,
                   T* gradient, int64_t images, int64_t all_pixels, int64_t all_channels, bool relu) {
    const int64_t times = pixels_a_block(all_pixels, all_channels);
    const int64_t pixels = all_pixels / times, channels = all_channels * times;
    const Repeated<float> as(normal.scale, all_channels, times), bs(sloped.slope, all_channels, times),
        ds(sloped.offset, all_channels, times);
    const Off<T> off(out, normal.scale, normal.shift, all_channels, times);
    const float *a = as.numbers, *b = bs.numbers, *d = ds.numbers;
#pragma omp parallel for schedule(static)
    for (int64_t n = 0; n < images; n++) {
        for (int64_t p = 0; p < pixels; p++) {
            in_blocks(channels, [&](int64_t c0, auto lanes) {
                const int64_t from = (n * pixels + p) * channels + c0;
                float value[LANES];
                widen(out_gradient + from, value, lanes);
                if (relu) off.take_away(value, maps, from, c0, lanes);
                for (int c = 0; c < lanes; c++)
                    value[c] = value[c] * a[c0 + c] + wide(maps[from + c]) * b[c0 + c] + d[c0 + c];
                narrow(value, gradient + from, lanes);
            });
        }
    }
}

// ---- layout, pictures, optimizer -------------------------------------------------------------------------------------

// (images, rows, columns) to (images, columns, rows), in tiles that stay in the first cache.
template <class T>
void turn(const T* in, T* out, int64_t images, int64_t rows, int64_t columns) {
    constexpr int64_t TILE = 32;
#pragma omp parallel for schedule(static)
    for (int64_t n = 0; n < images; n++) {
        const T* from = in + n * rows * columns;
        T* to = out + n * rows * columns;
        for (int64_t r0 = 0; r0 < rows; r0 += TILE)
            for (int64_t c0 = 0; c0 < columns; c0 += TILE)
                for (int64_t c = c0; c < least(c0 + TILE, columns); c++)
                    for (int64_t r = r0; r < least(r0 + TILE, rows); r++) to[c * rows + r] = from[r * columns + c];
    }
}

// D. Kingma's and M. Zeiler's letters: `square` and `delta` are the running means of g² and of Δ².
void adadelta(float* weight, const float* gradient, float* square, float* delta, int64_t count, float rate, float rho,
              float eps, float decay) {
    constexpr int64_t ALONE = 1 << 15;  // fewer numbers are done before another thread is awake
#pragma omp parallel for schedule(static) if (count > ALONE)
    for (int64_t i = 0; i < count; i++) {
        const float g = gradient[i] + decay * weight[i];
        const float s = square[i] * rho + g * g * (1.0f - rho);
        const float step = std::sqrt(delta[i] + eps) / std::sqrt(s + eps) * g;
        square[i] = s;
        delta[i] = delta[i] * rho + step * step * (1.0f - rho);
        weight[i] -= rate * step;
    }
}

}  // namespace

// ---- what Python calls: once for float, once for bfloat16 ------------------------------------------------------------

#define FOR_EACH_NUMBER(NAME, T)                                                                                       \
    extern "C" void pool_##NAME(const T* maps, T* out, uint8_t* winner, const Window* w, int32_t relu,                 \
                                const Dropout* dropout) {                                                              \
        pool(maps, out, winner, *w, relu, *dropout);                                                                   \
    }                                                                                                                  \
    extern "C" void pool_gradient_##NAME(const T* out_gradient, const uint8_t* winner, T* gradient, const Window* w,   \
                                         float scale) {                                                                \
        pool_gradient(out_gradient, winner, gradient, *w, scale);                                                      \
    }                                                                                                                  \
    extern "C" void relu_dropout_##NAME(const T* in, T* out, int64_t images, int64_t pixels, int64_t channels,         \
                                        int32_t relu, const Dropout* dropout) {                                        \
        relu_dropout(in, out, images, pixels, channels, relu, *dropout);                                               \
    }                                                                                                                  \
    extern "C" void relu_dropout_gradient_##NAME(const T* out_gradient, const T* out, T* gradient, int64_t images,     \
                                                 int64_t pixels, int64_t channels, int32_t relu,                       \
                                                 const Dropout* dropout) {                                             \
        relu_dropout_gradient(out_gradient, out, gradient, images, pixels, channels, relu, *dropout);                  \
    }                                                                                                                  \
    extern "C" void bias_gradient_##NAME(const T* out_gradient, const T* out, T* gradient, float* parts, float* bias,  \
                                         int64_t images, int64_t pixels, int64_t channels, int32_t relu) {             \
        bias_gradient(out_gradient, out, gradient, parts, bias, images, pixels, channels, relu);                       \
    }                                                                                                                  \
    extern "C" void few_##NAME(const T* pictures, const float* weight, const float* bias, T* out, const Few* f,        \
                               int32_t relu) {                                                                         \
        few(pictures, weight, bias, out, *f, relu);                                                                    \
    }                                                                                                                  \
    extern "C" void few_gradient_##NAME(const T* pictures, const T* out_gradient, const T* out, float* parts,          \
                                        float* total, const Few* f, int32_t relu) {                                    \
        few_gradient(pictures, out_gradient, out, parts, total, *f, relu);                                             \
    }                                                                                                                  \
    extern "C" void moments_##NAME(const T* maps, const float* weight, const float* bias, float eps, float* parts,     \
                                   float* normal, int64_t images, int64_t pixels, int64_t channels) {                  \
        moments(maps, weight, bias, eps, parts, Normal(normal, channels), images, pixels, channels);                   \
    }                                                                                                                  \
    extern "C" void normalise_##NAME(const T* maps, float* normal, const T* shortcut, T* out, int64_t images,          \
                                     int64_t pixels, int64_t channels, int32_t relu) {                                 \
        normalise(maps, Normal(normal, channels), shortcut, out, images, pixels, channels, relu);                      \
    }                                                                                                                  \
    extern "C" void norm_sums_##NAME(const T* out_gradient, const T* out, const T* maps, float* normal, T* through,    \
                                     float* parts, float* sloped, int64_t images, int64_t pixels, int64_t channels,    \
                                     int32_t relu) {                                                                   \
        norm_sums(out_gradient, out, maps, Normal(normal, channels), through, parts, Sloped(sloped, channels), images, \
                  pixels, channels, relu);                                                                             \
    }                                                                                                                  \
    extern "C" void norm_gradient_##NAME(const T* out_gradient, const T* out, const T* maps, float* normal,            \
                                         float* sloped, T* gradient, int64_t images, int64_t pixels, int64_t channels, \
                                         int32_t relu) {                                                               \
        norm_gradient(out_gradient, out, maps, Normal(normal, channels), Sloped(sloped, channels), gradient, images,   \
                      pixels, channels, relu);                                                                         \
    }                                                                                                                  \
    extern "C" void turn_##NAME(const T* in, T* out, int64_t images, int64_t rows, int64_t columns) {                  \
        turn(in, out, images, rows, columns);                                                                          \
    }

FOR_EACH_NUMBER(float32, float)
FOR_EACH_NUMBER(bfloat16, bfloat16)

extern "C" void adadelta_float32(float* weight, const float* gradient, float* square, float* delta, int64_t count,
                                 float rate, float rho, float eps, float decay) {
    adadelta(weight, gradient, square, delta, count, rate, rho, eps, decay);
}

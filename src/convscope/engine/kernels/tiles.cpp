// Convolutions of step 1 in bfloat16 with matrix instructions, and their gradients, for a few images at a time that stay
// in the second cache. Nothing is gathered: with a border that neighbouring rows and images share, a window's number lies
// at the same distance from every pixel, so that 16 pixels in a row are the rows of a matrix as they lie in memory,
// across the ends of rows; what is made at the border is left out. A window's row, numbers that lie together, is multiplied
// at once. The gradient of the maps is the same over the turned weights, that of the weights sums over pixels.
//
// Other steps, and pictures of few channels, are made such maps on their way into the cache: a window, or a row of it, becomes
// the channels of one pixel.
//
// Bias, a 2×2 max-pool, relu and dropout happen before the result is written. A network's first convolution can run in the
// same pass: its maps are never in memory. Channels and filters are multiples of 16. Maps lie pixel by pixel, bfloat16;
// weights come as float and are rounded, sums are float. Sums over images are made in parts that do not depend on the
// number of threads, so that every number of threads gives the same bits.

#include <omp.h>

#include "dropout.h"
#include "vectors.h"

#include "few.h"
#include "first.h"
#include "outlet.h"
#include "tiles.h"
#include "turn.h"

namespace {

struct Sizes {  // as Python gives them: of the maps that are multiplied, and of those in memory
    int64_t images, height, width, channels, filters, out_height, out_width, size_y, size_x, pad_y, pad_x;
    int64_t relu, pool, threads, parts, together;
    // A pixel's channels are `patch_y` rows of `patch_x` pixels that begin `edge` before it and `stride` after the last.
    int64_t in_height, in_width, in_channels, patch_y, patch_x, stride_y, stride_x, edge_y, edge_x;
};

}  // namespace

#ifdef HAS_TILES

namespace {

constexpr int64_t NEAR = 1152;  // pixels that weights' gradients are summed over before the sums go to memory

inline int64_t whole(int64_t number, int64_t of) { return (number + of - 1) / of * of; }

// Pixels of images in a row, with their border, are `places`; a window's first number has its output's place, if maps begin
// `lead` places in.
struct Shape : Sizes {
    explicit Shape(const Sizes& sizes) : Sizes(sizes) {}
    int64_t step() const { return width + pad_x; }
    int64_t area() const { return (height + pad_y) * step(); }
    int64_t lead() const { return pad_y * step() + pad_x; }
    int64_t reach() const { return (size_y - 1) * step() + size_x - 1; }  // from a window's first place to its last
    int64_t places() const { return whole(together * area(), DEEP); }
    int64_t stored() const { return whole(places() + reach() + 2, DEEP); }  // with what windows reach beyond
    int64_t taps() const { return size_y * size_x; }
    int64_t weights() const { return taps() * channels * filters; }
    int64_t shrink() const { return pool ? 2 : 1; }
    int64_t rows() const { return out_height / shrink(); }  // of what is written
    int64_t columns() const { return out_width / shrink(); }
    int64_t numbers() const { return rows() * columns() * filters; }  // of an image
    int64_t groups() const { return (images + together - 1) / together; }
    int64_t in_group(int64_t group) const { return least(together, images - group * together); }
    int64_t in_row() const { return in_width * in_channels; }
    int64_t in_image() const { return in_height * in_row(); }
    bool in_patches() const { return patch_y * patch_x * stride_y * stride_x > 1; }
    int64_t used(int64_t count, int64_t of_height, int64_t of_width) const {  // places up to the last that counts
        return (count - 1) * area() + (of_height - 1) * step() + of_width;
    }

    int64_t turned_row() const { return stored() + (stored() / DEEP % 2 ? 0 : DEEP); }  // rows not in one set of the cache
    int64_t paired() const { return places() + 2 * DEEP; }                             // zeros before and behind
    int64_t sums() const { return places() * most(channels, filters); }                // floats
    int64_t floats() const {  // that one thread needs, each part on a line of the cache
        const int64_t halves = stored() * (channels + filters) + channels * turned_row() + 2 * paired() * filters;
        return whole(sums() + halves / 2 + (in_patches() ? in_image() : 0), 16) + 5 * 16;
    }
};

// What one thread works with.
struct Memory {
    float* sums;       // [place][number]
    bfloat16 *maps;    // [place][channel], with their border
    bfloat16 *given;   // [place][filter], the gradient with a border
    bfloat16 *turned;  // [channel][place]
    bfloat16 *pairs;   // [even or odd][16 filters][two places][filter][which], the first of the two at even or odd places
    float* image;      // as it lies in memory, to add up its gradient, where maps are made of patches

    Memory(const Shape& s, float* memory)
        : sums(memory),
          maps(reinterpret_cast<bfloat16*>(sums + whole(s.sums(), 16))),
          given(maps + whole(s.stored() * s.channels, 32)),
          turned(given + whole(s.stored() * s.filters, 32)),
          pairs(turned + whole(s.channels * s.turned_row(), 32)),
          image(reinterpret_cast<float*>(pairs + whole(2 * s.paired() * s.filters, 32))) {}
};

// ---- maps with their border -------------------------------------------------------------------------------------------

inline void copy_row(const bfloat16* from, bfloat16* to, int64_t count) { std::memcpy(to, from, count * sizeof *to); }
inline void copy_row(const float* from, bfloat16* to, int64_t count) {
    for (int64_t i = 0; i < count; i += WIDTH) store(to + i, load(from + i));
}

// Calls work(number in the image, channel of the pixel (y, x), how many numbers) for what of its patch lies in the image, row
// by row.
template <class Work>
inline void patch(const Shape& s, int64_t y, int64_t x, const Work& work) {
    const int64_t left = x * s.stride_x - s.edge_x, begin = most(-left, 0), end = least(s.patch_x, s.in_width - left);
    for (int64_t p = 0; p < s.patch_y && begin < end; ++p) {
        const int64_t row = y * s.stride_y + p - s.edge_y;
        if (row >= 0 && row < s.in_height)
            work((row * s.in_width + left + begin) * s.in_channels, (p * s.patch_x + begin) * s.in_channels,
                 (end - begin) * s.in_channels);
    }
}

// Images as they lie in memory to their places, all else zero.
void place_maps(const Shape& s, const bfloat16* images, int64_t count, bfloat16* to) {
    std::memset(to, 0, s.stored() * s.channels * sizeof *to);
    for (int64_t n = 0; n < count; ++n)
        for (int64_t y = 0; y < s.height; ++y) {
            const bfloat16* image = images + n * s.in_image();
            bfloat16* row = to + (s.lead() + n * s.area() + y * s.step()) * s.channels;
            if (!s.in_patches()) {
                copy_row(image + y * s.in_row(), row, s.in_row());
                continue;
            }
            for (int64_t x = 0; x < s.width; ++x)
                patch(s, y, x, [&](int64_t from, int64_t channel, int64_t many) {
                    copy_row(image + from, row + x * s.channels + channel, many);
                });
        }
}

// The gradient of one image from that of its places; `added` is memory for it.
void take_gradient(const Shape& s, const float* sums, float* added, bfloat16* gradient) {
    if (!s.in_patches()) {
        for (int64_t y = 0; y < s.height; ++y)
            copy_row(sums + y * s.step() * s.channels, gradient + y * s.in_row(), s.in_row());
        return;
    }
    std::memset(added, 0, s.in_image() * sizeof *added);
    for (int64_t y = 0; y < s.height; ++y)
        for (int64_t x = 0; x < s.width; ++x)
            patch(s, y, x, [&](int64_t to, int64_t channel, int64_t many) {
                const float* from = sums + (y * s.step() + x) * s.channels + channel;
                for (int64_t i = 0; i < many; i += WIDTH) store(added + to + i, load(added + to + i) + load(from + i));
            });
    copy_row(added, gradient, s.in_image());
}

// [place][channel] to [channel][place].
void turn_maps(const Shape& s, const bfloat16* maps, bfloat16* turned) {
    for (int64_t i = 0; i < s.stored(); i += DEEP)
        for (int64_t c = 0; c < s.channels; c += SIDE)
            turn_block(maps + i * s.channels + c, s.channels, turned + c * s.turned_row() + i, s.turned_row());
}

// ---- products ---------------------------------------------------------------------------------------------------------

// sums[place][column] = Σ over a window of `from`[place][number] · weights, for the places that are used. `packed`: for each
// row of the window, each 32 of its numbers and each 16 columns, the numbers in pairs.
void correlate(const Shape& s, const bfloat16* from, int64_t numbers, const bfloat16* packed, float* sums,
               int64_t columns, int64_t used) {
    const int64_t pieces = (s.size_x * numbers + DEEP - 1) / DEEP, blocks = columns / SIDE;
    const Places p{numbers * 2, SIDE * numbers, PACKED, columns * 4, SIDE * columns, SIDE};
    in_pairs(blocks, [&](int64_t block, auto many_columns) {
        in_pairs((used + SIDE - 1) / SIDE, [&](int64_t tile, auto many_rows) {
            Sums<many_rows, many_columns> sum(p);
            const bfloat16 *left = from + tile * SIDE * numbers, *right = packed + block * PACKED;
            sum.zero();
            for (int64_t y = 0; y < s.size_y; ++y, left += s.step() * numbers)
                for (int64_t piece = 0; piece < pieces; ++piece, right += blocks * PACKED)
                    sum.add(left + piece * DEEP, right);
            sum.store(sums + tile * SIDE * columns + block * SIDE);
        });
    });
}

// weights[tap][channel][filter] += Σ over places of maps[place + tap][channel] · given[place][filter]. Maps are read in whole
// lines of the cache, and the gradient from where the window's number lies that it belongs to.
void add_products(const Shape& s, const bfloat16* turned, const bfloat16* pairs, float* weights, int64_t used) {
    const int64_t row = s.turned_row(), half = s.paired() * s.filters;
    const Places p{row * 2, SIDE * row, s.paired() * SIDE, s.filters * 4, SIDE * s.filters, SIDE};
    for (int64_t first = 0; first < used + DEEP; first += NEAR)
        in_pairs(s.filters / SIDE, [&](int64_t block, auto many_columns) {
            for (int64_t tap = 0; tap < s.taps(); ++tap) {
                const int64_t offset = tap / s.size_x * s.step() + tap % s.size_x, before = offset % DEEP;
                const int64_t end = least(first + NEAR, whole(used + before, DEEP)), odd = before % 2;
                const bfloat16* maps = turned + offset - before;
                const bfloat16* given = pairs + odd * half + block * SIDE * s.paired() + (DEEP - before + odd) * SIDE;
                in_pairs(s.channels / SIDE, [&](int64_t tile, auto many_rows) {
                    Sums<many_rows, many_columns> sum(p);
                    float* to = weights + (tap * s.channels + tile * SIDE) * s.filters + block * SIDE;
                    if (first >= end) return;
                    sum.load(to);
                    for (int64_t i = first; i < end; i += DEEP) sum.add(maps + tile * SIDE * row + i, given + i * SIDE);
                    sum.store(to);
                });
            }
        });
}

// ---- what is written, and what comes back -------------------------------------------------------------------------------

// The outputs of one image, from its sums [place][filter].
template <class T>
void write_image(const Shape& s, const float* sums, const float* bias, const Outlet<T>& outlet, int64_t image) {
    const int64_t rows = s.rows(), columns = s.columns(), down = s.step() * s.filters;
    for (int64_t y = 0; y < rows; ++y)
        for (int64_t x = 0; x < columns; ++x) {
            const int64_t pixel = y * columns + x;
            const float* from = sums + s.shrink() * (y * s.step() + x) * s.filters;
            for (int64_t k = 0; k < s.filters; k += WIDTH) {
                const Vector shift = load(bias + k);
                const int64_t at = pixel * s.filters + k;
                if (!s.pool) {
                    const Vector value = load(from + k) + shift;
                    outlet.write(at, s.relu ? where_positive(value, value) : value);
                    continue;
                }
                const Vector top[] = {load(from + k), load(from + s.filters + k)};
                const Vector bottom[] = {load(from + down + k), load(from + down + s.filters + k)};
                Vector best;
                Words who;
                pooled(top, bottom, best, who);
                best += shift;
                if (s.relu) take_away(Words(best <= 0.0f), best, who);
                if (outlet.dropout.on())
                    drop(outlet.dropout, image, k * rows * columns + pixel, rows * columns, best, who);
                outlet.write(at, best, who);
            }
        }
}

// The gradient of one image's outputs to the places [place][filter], which are zero before, and its sum to the bias's.
template <class T>
void place_gradient(const Shape& s, const Inlet<T>& inlet, bfloat16* to, float* bias) {
    const int64_t rows = s.rows(), columns = s.columns(), down = s.step() * s.filters;
    for (int64_t k = 0; k < s.filters; k += WIDTH) {
        Vector total = {};
        for (int64_t y = 0; y < rows; ++y)
            for (int64_t x = 0; x < columns; ++x) {
                const int64_t at = (y * columns + x) * s.filters + k;
                bfloat16* place = to + s.shrink() * (y * s.step() + x) * s.filters + k;
                Vector value = load(inlet.gradient + at);
                if (!s.pool) {
                    if (s.relu) value = where_positive(load(inlet.out + at), value);
                    total += value;
                    store(place, value);
                    continue;
                }
                value *= inlet.scale;
                const Words winner = load(inlet.winner + at);
#pragma GCC unroll 4
                for (uint32_t tap = 0; tap < 4; ++tap) {
                    const Vector mine = Vector(Words(winner == tap) & Words(value));
                    total += mine;
                    store(place + tap / 2 * down + tap % 2 * s.filters, mine);
                }
            }
        store(bias + k, load(bias + k) + total);
    }
}

// [place][filter] in pairs of places that begin at even ones, and at odd ones, with zeros before and behind: the place i lies
// DEEP + i, or one more, numbers in.
void pair_gradient(const Shape& s, const bfloat16* given, bfloat16* pairs, int64_t used) {
    const int64_t step = s.filters, all = s.paired(), half = all * s.filters;
    const auto at = [&](int64_t place, int64_t k) {
        return place < 0 || place >= used ? _mm256_setzero_si256() : halves(given + place * step + k);
    };
    for (int64_t k = 0; k < s.filters; k += SIDE) {
        bfloat16 *even = pairs + k * all, *odd = even + half;
        for (int64_t i = 0; i < all; i += 2) {
            const int64_t place = i - DEEP;
            const __m256i middle = at(place, k);
            _mm512_storeu_si512(even + i * SIDE, paired(middle, at(place + 1, k)));
            _mm512_storeu_si512(odd + i * SIDE, paired(at(place - 1, k), middle));
        }
    }
}

// ---- the passes ---------------------------------------------------------------------------------------------------------

// Weights as `correlate` takes them.
struct Weights {
    const bfloat16 *forward, *backward;  // for the maps, for the gradient (null where the maps need none)
};

// The gradients of a group of images, whose maps are at their places: the maps' stays in `sums`.
template <class T>
void group_gradient(const Shape& s, const Memory& m, const Inlet<T>& inlet, int64_t count, const Weights& weights,
                    float* weight, float* bias) {
    bfloat16* given = m.given + (s.reach() - s.lead()) * s.filters;  // so that a turned window begins at its place
    std::memset(m.given, 0, s.stored() * s.filters * sizeof *m.given);
    for (int64_t n = 0; n < count; ++n)
        place_gradient(s, inlet.from(n * s.numbers()), given + n * s.area() * s.filters, bias);
    const int64_t used = s.used(count, s.out_height, s.out_width);
    if (weight) {
        turn_maps(s, m.maps, m.turned);
        pair_gradient(s, given, m.pairs, used);
        add_products(s, m.turned, m.pairs, weight, used);
    }
    if (weights.backward)
        correlate(s, m.given, s.filters, weights.backward, m.sums, s.channels, s.used(count, s.height, s.width));
}

// Calls work(part, group, weight, bias) for the groups of images, part by part: those of a part add to the same sums.
template <class Work>
void in_parts(const Shape& s, float* weights, float* biases, const Work& work) {
#pragma omp parallel num_threads(s.threads)
    {
        const Tiles tiles;
#pragma omp for schedule(static)
        for (int64_t part = 0; part < s.parts; ++part) {
            float *weight = weights ? weights + part * s.weights() : nullptr, *bias = biases + part * s.filters;
            if (weight) std::memset(weight, 0, s.weights() * sizeof(float));
            std::memset(bias, 0, s.filters * sizeof(float));
            for (int64_t group = s.groups() * part / s.parts; group < s.groups() * (part + 1) / s.parts; ++group)
                work(part, group, weight, bias);
        }
    }
}

void convolve(const Shape& s, const bfloat16* maps, const Weights& weights, const float* bias,
              const Outlet<bfloat16>& outlet, float* memory) {
#pragma omp parallel num_threads(s.threads)
    {
        const Tiles tiles;
        const Memory m(s, memory + omp_get_thread_num() * s.floats());
#pragma omp for schedule(static)
        for (int64_t group = 0; group < s.groups(); ++group) {
            const int64_t first = group * s.together, count = s.in_group(group);
            place_maps(s, maps + first * s.in_image(), count, m.maps);
            correlate(s, m.maps, s.channels, weights.forward, m.sums, s.filters,
                      s.used(count, s.out_height, s.out_width));
            for (int64_t n = 0; n < count; ++n)
                write_image(s, m.sums + n * s.area() * s.filters, bias, outlet.from((first + n) * s.numbers()), first + n);
        }
    }
}

// weights: (parts, taps, channels, filters); biases: (parts, filters).
void convolve_gradient(const Shape& s, const bfloat16* maps, const Inlet<bfloat16>& inlet, const Weights& packed,
                       bfloat16* gradient, float* weights, float* biases, float* memory) {
    in_parts(s, weights, biases, [&](int64_t, int64_t group, float* weight, float* bias) {
        const Memory m(s, memory + omp_get_thread_num() * s.floats());
        const int64_t first = group * s.together, count = s.in_group(group);
        if (weight) place_maps(s, maps + first * s.in_image(), count, m.maps);
        group_gradient(s, m, inlet.from(first * s.numbers()), count, packed, weight, bias);
        for (int64_t n = 0; packed.backward && n < count; ++n)
            take_gradient(s, m.sums + n * s.area() * s.channels, m.image, gradient + (first + n) * s.in_image());
    });
}

// ---- with the first convolution of the network before it ------------------------------------------------------------------

// The images that a thread has in hand: pictures with their border; and what is written or comes back where it is `flat`, map
// after map instead of pixel by pixel: one image's as it is, all turned.
struct InHand {
    float *written, *turned, *bordered;

    static int64_t floats(const Shape& s, const First& first) {
        return whole(s.together * (first.bordered() + s.numbers()) + s.numbers(), 16);
    }
    InHand(const Shape& s, const First& first, float* memory)
        : written(memory), turned(written + s.numbers()), bordered(turned + s.together * s.numbers()) {}

    // The maps of the first convolution at their places.
    void make(const Shape& s, const First& first, int64_t image, int64_t count, bfloat16* maps) const {
        std::memset(maps, 0, s.stored() * s.channels * sizeof *maps);
        for (int64_t n = 0; n < count; ++n) {
            first.border(image + n, bordered + n * first.bordered());
            first.forward(bordered + n * first.bordered(), at(s, maps, n), s.step() * s.channels);
        }
    }
    static bfloat16* at(const Shape& s, bfloat16* maps, int64_t image) {
        return maps + (s.lead() + image * s.area()) * s.channels;
    }
};

// The gradient of one image, map after map, to pixel by pixel.
void turn_back(const Shape& s, const bfloat16* gradient, const InHand& hand, float* turned) {
    for (int64_t i = 0; i < s.numbers(); i += WIDTH) store(hand.written + i, load(gradient + i));
    turn_one(hand.written, turned, s.filters, s.rows() * s.columns());
}

void convolve_two(const Shape& s, const First& before, const Weights& weights, const float* bias,
                  const Outlet<bfloat16>& outlet, bool flat, float* memory) {
    const int64_t size = s.floats() + InHand::floats(s, before), pixels = s.rows() * s.columns();
#pragma omp parallel num_threads(s.threads)
    {
        const Tiles tiles;
        float* own = memory + omp_get_thread_num() * size;
        const Memory m(s, own);
        const InHand hand(s, before, own + s.floats());
#pragma omp for schedule(static)
        for (int64_t group = 0; group < s.groups(); ++group) {
            const int64_t first = group * s.together, count = s.in_group(group);
            hand.make(s, before, first, count, m.maps);
            correlate(s, m.maps, s.channels, weights.forward, m.sums, s.filters,
                      s.used(count, s.out_height, s.out_width));
            for (int64_t n = 0; n < count; ++n) {
                const float* sums = m.sums + n * s.area() * s.filters;
                const Outlet<bfloat16> out = outlet.from((first + n) * s.numbers());
                if (!flat) {
                    write_image(s, sums, bias, out, first + n);
                    continue;
                }
                write_image(s, sums, bias, Outlet<float>{hand.written, out.winner, out.dropout, nullptr}, first + n);
                turn_one(hand.written, hand.turned, pixels, s.filters);
                copy_row(hand.turned, out.out, s.numbers());
            }
        }
    }
}

// befores: (parts, taps + 1, channels), the gradients of the first convolution's weight and bias.
void convolve_two_gradient(const Shape& s, const First& before, const Inlet<bfloat16>& inlet, bool flat,
                           const Weights& packed, float* befores, float* weights, float* biases, float* memory) {
    const int64_t size = s.floats() + InHand::floats(s, before);
    const int64_t size_before = (before.f.taps() + 1) * s.channels;
    std::memset(befores, 0, sizeof(float) * size_before * s.parts);
    in_parts(s, weights, biases, [&](int64_t part, int64_t group, float* weight, float* bias) {
        float* own = memory + omp_get_thread_num() * size;
        const Memory m(s, own);
        const InHand hand(s, before, own + s.floats());
        const int64_t first = group * s.together, count = s.in_group(group);
        hand.make(s, before, first, count, m.maps);
        const Inlet<bfloat16> from = inlet.from(first * s.numbers());
        if (flat) {
            for (int64_t n = 0; n < count; ++n)
                turn_back(s, from.gradient + n * s.numbers(), hand, hand.turned + n * s.numbers());
            group_gradient(s, m, Inlet<float>{hand.turned, nullptr, from.winner, from.scale}, count, packed, weight, bias);
        } else {
            group_gradient(s, m, from, count, packed, weight, bias);
        }
        for (int64_t n = 0; packed.backward && n < count; ++n)
            before.backward(hand.bordered + n * before.bordered(), InHand::at(s, m.maps, n), s.step() * s.channels,
                            m.sums + n * s.area() * s.channels, s.step() * s.channels, befores + part * size_before);
    });
}

// ---- weights ------------------------------------------------------------------------------------------------------------

// weight (filters, rows, columns, channels) for the maps: the numbers of a window's row as they lie there.
void pack_forward(const Shape& s, const float* weight, bfloat16* packed) {
    const int64_t run = s.size_x * s.channels, pieces = (run + DEEP - 1) / DEEP, blocks = s.filters / SIDE;
#pragma omp parallel for schedule(static) num_threads(s.threads)
    for (int64_t i = 0; i < s.size_y * pieces * blocks; ++i) {
        const int64_t block = i % blocks, piece = i / blocks % pieces, y = i / blocks / pieces;
        __m512i rows[16];
        for (int64_t k = 0; k < SIDE; ++k) {
            const float* from = weight + ((block * SIDE + k) * s.size_y + y) * run + piece * DEEP;
            const __m256i upper = piece * DEEP + SIDE < run ? halves(from + SIDE) : _mm256_setzero_si256();
            rows[k] = _mm512_inserti64x4(_mm512_castsi256_si512(halves(from)), upper, 1);
        }
        turn_words(rows);
        for (int64_t r = 0; r < SIDE; ++r) _mm512_storeu_si512(packed + i * PACKED + r * DEEP, rows[r]);
    }
}

// The same for the gradient: windows turned around, filters in place of channels.
void pack_backward(const Shape& s, const float* weight, bfloat16* packed) {
    const int64_t run = s.size_x * s.filters, pieces = (run + DEEP - 1) / DEEP, blocks = s.channels / SIDE;
    const int64_t filter = s.taps() * s.channels;
#pragma omp parallel for schedule(static) num_threads(s.threads)
    for (int64_t i = 0; i < s.size_y * pieces * blocks; ++i) {
        const int64_t block = i % blocks, piece = i / blocks % pieces, y = s.size_y - 1 - i / blocks / pieces;
        for (int64_t r = 0; r < SIDE; ++r) {
            const int64_t number = piece * DEEP + 2 * r, x = s.size_x - 1 - number / s.filters;
            const float* from = weight + number % s.filters * filter + (y * s.size_x + x) * s.channels + block * SIDE;
            const __m512i pair = x < 0 ? _mm512_setzero_si512() : paired(halves(from), halves(from + filter));
            _mm512_storeu_si512(packed + i * PACKED + r * DEEP, pair);
        }
    }
}

// The parts (parts, numbers, filters) of the gradient, summed in order, to (filters, numbers).
void sum_parts(const Shape& s, const float* parts, float* gradient) {
    const int64_t numbers = s.taps() * s.channels;
#pragma omp parallel for schedule(static) num_threads(s.threads)
    for (int64_t i = 0; i < numbers; i += SQUARE)
        for (int64_t k = 0; k < s.filters; k += SQUARE) {
            float sums[SQUARE * SQUARE] = {};
            for (int64_t part = 0; part < s.parts; ++part)
                for (int r = 0; r < SQUARE; ++r)
                    for (int c = 0; c < SQUARE; ++c)
                        sums[r * SQUARE + c] += parts[part * s.weights() + (i + r) * s.filters + k + c];
            turn_square(sums, SQUARE, gradient + k * numbers + i, numbers);
        }
}

}  // namespace

#endif

// ---- what Python calls --------------------------------------------------------------------------------------------------

#ifdef HAS_TILES

extern "C" {

// Floats that all threads together need, forward and backward.
void scratch_float32(int64_t* forward_backward, const Sizes* sizes) {
    forward_backward[0] = forward_backward[1] = sizes->threads * Shape(*sizes).floats();
}

void pack_forward_float32(const float* weight, bfloat16* packed, const Sizes* sizes) {
    pack_forward(Shape(*sizes), weight, packed);
}
void pack_backward_float32(const float* weight, bfloat16* packed, const Sizes* sizes) {
    pack_backward(Shape(*sizes), weight, packed);
}

void sum_parts_float32(const float* parts, float* gradient, const Sizes* sizes) {
    sum_parts(Shape(*sizes), parts, gradient);
}

void convolve_bfloat16(const bfloat16* maps, const bfloat16* packed, const float* bias, bfloat16* out, uint8_t* winner,
                       float* memory, const Sizes* sizes, const Dropout* dropout) {
    convolve(Shape(*sizes), maps, Weights{packed, nullptr}, bias, Outlet<bfloat16>{out, winner, *dropout, nullptr}, memory);
}
void convolve_gradient_bfloat16(const bfloat16* maps, const bfloat16* out_gradient, const bfloat16* out,
                                const uint8_t* winner, float scale, const bfloat16* packed, bfloat16* gradient,
                                float* weights, float* biases, float* memory, const Sizes* sizes) {
    convolve_gradient(Shape(*sizes), maps, Inlet<bfloat16>{out_gradient, out, winner, scale}, Weights{nullptr, packed},
                      gradient, weights, biases, memory);
}

// The network's first convolution and relu in float, then this one.
void scratch_two_float32(int64_t* forward_backward, const Few* few, const Sizes* sizes) {
    const Shape shape(*sizes);
    const int64_t floats = shape.floats() + InHand::floats(shape, First{nullptr, nullptr, nullptr, *few});
    forward_backward[0] = forward_backward[1] = shape.threads * floats;
}
void convolve_two_bfloat16(const float* pictures, const float* weight_before, const float* bias_before,
                          const bfloat16* packed, const float* bias, bfloat16* out, uint8_t* winner, int64_t flat,
                          float* memory, const Few* few, const Sizes* sizes, const Dropout* dropout) {
    convolve_two(Shape(*sizes), First{pictures, weight_before, bias_before, *few}, Weights{packed, nullptr}, bias,
                 Outlet<bfloat16>{out, winner, *dropout, nullptr}, flat, memory);
}
void convolve_two_gradient_bfloat16(const float* pictures, const float* weight_before, const float* bias_before,
                                   const bfloat16* out_gradient, const bfloat16* out, const uint8_t* winner, float scale,
                                   int64_t flat, const bfloat16* packed, float* befores, float* weights, float* biases,
                                   float* memory, const Few* few, const Sizes* sizes) {
    convolve_two_gradient(Shape(*sizes), First{pictures, weight_before, bias_before, *few},
                          Inlet<bfloat16>{out_gradient, out, winner, scale}, flat, Weights{nullptr, packed}, befores,
                          weights, biases, memory);
}

}  // extern "C"

#endif

// A 3×3 convolution of stride 1 and its gradients with 36 instead of 144 products for each 4×4 block of the output,
// F(4×4, 3×3) of Lavin & Gray (2016): transform the 6×6 inputs of a tile, multiply place by place over the channels,
// transform back. Bias, a 2×2 max-pool, relu and dropout happen before the result is written. The gradients are the same
// three steps, each transposed, in the opposite order. Channels and filters are multiples of 16. Maps of 2×2 pixels with
// a border of one have tiles of their own, with 9 products instead of 36.
// A network's first convolution can run in the same pass, image by image: its maps are never in memory.
//
// Maps lie pixel by pixel: (images, rows, columns, channels), float or bfloat16 (the upper half of a float's bits);
// all arithmetic is float. Sums over images are made in parts that do not depend on the number of threads, so that
// every number of threads gives the same bits.
//
// Three files make libraries of it: winograd.cpp for float maps, winograd_bfloat16.cpp for bfloat16 ones, and
// winograd_half.cpp for bfloat16 ones where the processor multiplies such numbers. Each takes seconds to build, and few
// runs need more than one.

#include <omp.h>

#include <initializer_list>

#include "dropout.h"
#include "vectors.h"

#include "few.h"
#include "first.h"
#include "outlet.h"
#include "places.h"
#include "turn.h"
#include "weights.h"

namespace {

constexpr int64_t APART = 16;  // floats between places, so that they do not meet in one set of the cache

// ---- sizes --------------------------------------------------------------------------------------------------------

struct Sizes {  // as Python gives them
    int64_t images, height, width, channels, filters, out_height, out_width, pad_top, pad_left;
    int64_t relu, pool, tiles_at_once, threads, parts;
};

template <class Kind>
struct Shape : Sizes {
    static constexpr int64_t IN = Kind::IN, OUT = Kind::OUT, SIDE = Kind::SIDE, PLACES = Kind::PLACES;

    explicit Shape(const Sizes& sizes) : Sizes(sizes) {}
    int64_t across() const { return (out_width + OUT - 1) / OUT; }
    int64_t down() const { return (out_height + OUT - 1) / OUT; }
    int64_t tiles() const { return across() * down(); }  // of one image
    int64_t shrink() const { return pool ? 2 : 1; }
    int64_t rows() const { return out_height / shrink(); }  // of what is written
    int64_t columns() const { return out_width / shrink(); }
    int64_t in_step() const { return tiles_at_once * channels + APART; }  // floats from place to place
    int64_t out_step() const { return tiles_at_once * filters + APART; }
    int64_t scratch() const { return PLACES * (in_step() + out_step()); }  // floats, for one thread
    // The backward pass takes so many images together, and adds up their gradient with the border that tiles need.
    int64_t together() const { return tiles() < tiles_at_once ? tiles_at_once / tiles() : 1; }
    int64_t wide_row() const { return (across() * OUT + IN - OUT) * channels; }
    int64_t wide_image() const { return (down() * OUT + IN - OUT) * wide_row(); }
    int64_t scratch_backward() const { return scratch() + together() * wide_image(); }
};

// Some filters whose sums are made and transformed together, so that they do not leave the caches in between.
struct Panel {
    int64_t first, many, step;  // `step` floats between places
};

template <class Kind>
struct Tile {
    int64_t image, top, left;  // of the output

    Tile(const Shape<Kind>& s, int64_t number)
        : image(number / s.tiles()),
          top(number % s.tiles() / s.across() * Kind::OUT),
          left(number % s.across() * Kind::OUT) {}
};

// How many numbers have the room of a float.
template <class Kind>
constexpr int64_t IN_A_FLOAT = sizeof(float) / sizeof(typename Kind::Number);

// ---- transforms of one tile ---------------------------------------------------------------------------------------

// The inputs of one tile, transformed, to places[place][tile][channel].
template <class Kind, class T>
[[gnu::noinline]] void transform_input(const Shape<Kind>& s, const T* maps, const Tile<Kind>& tile,
                                       typename Kind::Number* places) {
    constexpr int64_t IN = Kind::IN, SIDE = Kind::SIDE;
    const int64_t top = tile.top - s.pad_top, left = tile.left - s.pad_left, step = s.in_step() * IN_A_FLOAT<Kind>;
    const T* image = maps + tile.image * s.height * s.width * s.channels;
    const bool inside = top >= 0 && left >= 0 && top + IN <= s.height && left + IN <= s.width;
    for (int64_t c = 0; c < s.channels; c += WIDTH) {
        Vector columns[IN][SIDE];  // [column][place]
        for (int64_t x = 0; x < IN; ++x) {
            Vector d[IN];
            for (int64_t y = 0; y < IN; ++y) {
                const int64_t row = top + y, column = left + x;
                const bool is_there = inside || (row >= 0 && row < s.height && column >= 0 && column < s.width);
                d[y] = is_there ? load(image + (row * s.width + column) * s.channels + c) : Vector{};
            }
            Kind::into_places(d, columns[x]);
        }
        for (int64_t y = 0; y < SIDE; ++y) {
            Vector d[IN], v[SIDE];
            for (int64_t x = 0; x < IN; ++x) d[x] = columns[x][y];
            Kind::into_places(d, v);
            for (int64_t x = 0; x < SIDE; ++x) store(places + (y * SIDE + x) * step + c, v[x]);
        }
    }
}

// One tile back, with bias, pool, relu and dropout, for a panel of filters: sums[place][tile][filter of the panel].
template <class Kind, class T>
[[gnu::noinline]] void transform_output(const Shape<Kind>& s, const float* sums, const Panel& panel, const float* bias,
                      const Outlet<T>& outlet, const Tile<Kind>& tile) {
    constexpr int64_t OUT = Kind::OUT, SIDE = Kind::SIDE;
    const int64_t rows = s.rows(), columns = s.columns();
    const int64_t top = tile.top / s.shrink(), left = tile.left / s.shrink(), size = OUT / s.shrink();
    for (int64_t k = panel.first; k < panel.first + panel.many; k += WIDTH) {
        Vector half[SIDE][OUT], result[OUT][OUT];
        for (int64_t x = 0; x < SIDE; ++x) {
            Vector m[SIDE];
            for (int64_t y = 0; y < SIDE; ++y) m[y] = load(sums + (y * SIDE + x) * panel.step + k - panel.first);
            Kind::from_places(m, half[x]);
        }
        const Vector shift = load(bias + k);
        for (int64_t y = 0; y < OUT; ++y) {
            Vector m[SIDE];
            for (int64_t x = 0; x < SIDE; ++x) m[x] = half[x][y];
            Kind::from_places(m, result[y]);
            for (int64_t x = 0; x < OUT; ++x) result[y][x] += shift;
        }
        for (int64_t y = 0; y < size && top + y < rows; ++y)
            for (int64_t x = 0; x < size && left + x < columns; ++x) {
                const int64_t pixel = (top + y) * columns + left + x, at = (tile.image * rows * columns + pixel) * s.filters;
                if (!s.pool) {
                    outlet.write(at + k, s.relu ? where_positive(result[y][x], result[y][x]) : result[y][x]);
                    continue;
                }
                Vector best;
                Words who;
                pooled(result[2 * y] + 2 * x, result[2 * y + 1] + 2 * x, best, who);
                if (s.relu) take_away(Words(best <= 0.0f), best, who);
                if (outlet.dropout.on())
                    drop(outlet.dropout, tile.image, k * rows * columns + pixel, rows * columns, best, who);
                outlet.write(at + k, best, who);
            }
    }
}

// The gradient of a tile's output before pool and relu, [row][column], for channels from k on.
template <class Kind, class T>
inline void entering(const Shape<Kind>& s, const Inlet<T>& inlet, const Tile<Kind>& tile, int64_t k,
                     Vector d[Kind::OUT][Kind::OUT]) {
    constexpr int64_t OUT = Kind::OUT;
    const int64_t rows = s.rows(), columns = s.columns(), size = OUT / s.shrink();
    const int64_t top = tile.top / s.shrink(), left = tile.left / s.shrink();
    const bool inside = top + size <= rows && left + size <= columns;
    const int64_t corner = ((tile.image * rows + top) * columns + left) * s.filters + k;
    for (int64_t y = 0; y < size; ++y)
        for (int64_t x = 0; x < size; ++x) {
            const int64_t at = corner + (y * columns + x) * s.filters;
            const bool is_there = inside || (top + y < rows && left + x < columns);
            Vector value = is_there ? load(inlet.gradient + at) : Vector{};
            if (!s.pool) {
                d[y][x] = s.relu && is_there ? where_positive(load(inlet.out + at), value) : value;
                continue;
            }
            value *= inlet.scale;
            const Words winner = is_there ? load(inlet.winner + at) : Words{};
#pragma GCC unroll 4
            for (uint32_t tap = 0; tap < 4; ++tap)
                d[2 * y + tap / 2][2 * x + tap % 2] = Vector(Words(winner == tap) & Words(value));
        }
}

// The gradient of a tile's output to places[place][tile][filter], and its sum to the bias's.
template <class Kind, class T>
[[gnu::noinline]] void transform_output_transposed(const Shape<Kind>& s, const Inlet<T>& inlet, const Tile<Kind>& tile,
                                                   typename Kind::Number* places, float* bias) {
    constexpr int64_t OUT = Kind::OUT, SIDE = Kind::SIDE;
    const int64_t step = s.out_step() * IN_A_FLOAT<Kind>;
    for (int64_t k = 0; k < s.filters; k += WIDTH) {
        Vector given[OUT][OUT], columns[OUT][SIDE], total = {};
        entering(s, inlet, tile, k, given);
        for (int64_t x = 0; x < OUT; ++x) {
            Vector d[OUT];
            for (int64_t y = 0; y < OUT; ++y) d[y] = given[y][x], total += d[y];
            Kind::from_places_transposed(d, columns[x]);
        }
        store(bias + k, load(bias + k) + total);
        for (int64_t y = 0; y < SIDE; ++y) {
            Vector d[OUT], m[SIDE];
            for (int64_t x = 0; x < OUT; ++x) d[x] = columns[x][y];
            Kind::from_places_transposed(d, m);
            for (int64_t x = 0; x < SIDE; ++x) store(places + (y * SIDE + x) * step + k, m[x]);
        }
    }
}

// The gradient of a tile's inputs back from the places, added to what neighbouring tiles gave.
template <class Kind>
[[gnu::noinline]] void transform_input_transposed(const Shape<Kind>& s, const float* places, const Tile<Kind>& tile, float* wide_image) {
    constexpr int64_t IN = Kind::IN, SIDE = Kind::SIDE;
    const int64_t step = s.in_step();
    float* corner = wide_image + tile.top * s.wide_row() + tile.left * s.channels;
    for (int64_t c = 0; c < s.channels; c += WIDTH) {
        Vector half[SIDE][IN];
        for (int64_t x = 0; x < SIDE; ++x) {
            Vector v[SIDE];
            for (int64_t y = 0; y < SIDE; ++y) v[y] = load(places + (y * SIDE + x) * step + c);
            Kind::into_places_transposed(v, half[x]);
        }
        for (int64_t y = 0; y < IN; ++y) {
            Vector v[SIDE], d[IN];
            for (int64_t x = 0; x < SIDE; ++x) v[x] = half[x][y];
            Kind::into_places_transposed(v, d);
            float* row = corner + y * s.wide_row() + c;
            for (int64_t x = 0; x < IN; ++x) store(row + x * s.channels, load(row + x * s.channels) + d[x]);
        }
    }
}

// ---- products -----------------------------------------------------------------------------------------------------

// Weights of a place lie in panels of columns, each [row][column of the panel], so that they are read in order; in pairs,
// [two rows][column][which of the two].

// sums[tile][column] = Σ inputs[tile][row] · weights[row][column], for one panel.
template <int64_t VECTORS>
inline void multiply_tiles(const float* inputs, const float* panel, float* sums, int64_t sums_step, int64_t tiles,
                           int64_t rows) {
    multiply_rows<false, VECTORS>(inputs, rows, 1, panel, VECTORS * WIDTH, sums, sums_step, tiles, rows);
}

// weights[channel][filter] += Σ inputs[tile][channel] · outputs[tile][filter]; numbers may be pairs of two tiles'.
template <class Number>
inline void add_products(const Number* inputs, const Number* outputs, float* weights, int64_t tiles, int64_t channels,
                         int64_t filters) {
    in_panels(filters, [&](int64_t k, auto vectors) {
        multiply_rows<true, vectors>(inputs, 1, channels, outputs + k, filters, weights + k * channels,
                                     vectors * WIDTH, channels, tiles);
    });
}

// The same for one place, whose inputs and outputs begin there.
inline void add_products(const Sizes& s, const float* inputs, const float* outputs, float* weights, int64_t tiles) {
    add_products(inputs, outputs, weights, tiles, s.channels, s.filters);
}

#ifdef HAS_PAIRS

template <int64_t VECTORS>
inline void multiply_tiles(const bfloat16* inputs, const bfloat16* panel, float* sums, int64_t sums_step, int64_t tiles,
                           int64_t rows) {
    multiply_rows<false, VECTORS>(reinterpret_cast<const Pair*>(inputs), rows / 2, 1, reinterpret_cast<const Pair*>(panel),
                                  VECTORS * WIDTH, sums, sums_step, tiles, rows / 2);
}

// Rows of tiles in pairs, one beside the next, in the second half of the place's memory; the last may be alone.
inline Pair* paired_tiles(const bfloat16* rows, int64_t tiles, int64_t numbers, int64_t at_once) {
    Pair* pairs = reinterpret_cast<Pair*>(const_cast<bfloat16*>(rows) + at_once * numbers);
    const auto halves = [&](int64_t tile, int64_t k) {
        return tile < tiles ? _mm256_loadu_si256((const __m256i*)(rows + tile * numbers + k)) : _mm256_setzero_si256();
    };
    for (int64_t t = 0; t < tiles; t += 2)
        for (int64_t k = 0; k < numbers; k += WIDTH) store_pairs(pairs + t / 2 * numbers + k, halves(t, k), halves(t + 1, k));
    return pairs;
}

inline void add_products(const Sizes& s, const bfloat16* inputs, const bfloat16* outputs, float* weights, int64_t tiles) {
    const Pair* in = paired_tiles(inputs, tiles, s.channels, s.tiles_at_once);
    const Pair* out = paired_tiles(outputs, tiles, s.filters, s.tiles_at_once);
    add_products(in, out, weights, (tiles + 1) / 2, s.channels, s.filters);
}

#endif

// Rows of maps that will be wanted soon, brought nearer bit by bit while tiles are multiplied.
struct Ahead {
    const char *begin, *end;

    template <class T>
    Ahead(const T* maps, int64_t height, int64_t row_numbers, int64_t image, int64_t row, int64_t last_image,
          int64_t last_row)
        : begin(reinterpret_cast<const char*>(maps + (image * height + within(row, height)) * row_numbers)),
          end(reinterpret_cast<const char*>(maps + (last_image * height + within(last_row, height)) * row_numbers)) {}

    static int64_t within(int64_t row, int64_t height) { return row < 0 ? 0 : least(row, height); }

    // The part of them from `from` to `to`, of `all`.
    void fetch(int64_t from, int64_t to, int64_t all) const {
        const int64_t lines = (end - begin) / LINE;
        for (int64_t i = lines * from / all; i < lines * to / all; ++i)
            __builtin_prefetch(begin + i * LINE);
    }
};

// ---- the three passes ---------------------------------------------------------------------------------------------

// One block of tiles forward; where a block follows, its maps come nearer meanwhile.
template <class Kind, class T, class Out>
void convolve_block(const Shape<Kind>& s, const T* maps, const typename Kind::Number* weights, const float* bias,
                    const Outlet<Out>& outlet, float* memory, int64_t begin, int64_t tiles, int64_t all) {
    constexpr int64_t PLACES = Kind::PLACES;
    auto* inputs = reinterpret_cast<typename Kind::Number*>(memory);
    float* sums = memory + PLACES * s.in_step();
    for (int64_t t = 0; t < tiles; ++t)
        transform_input(s, maps, Tile<Kind>(s, begin + t), inputs + t * s.channels);
    const Tile<Kind> first(s, begin), last(s, begin + tiles - 1);
    const Tile<Kind> next(s, least(begin + tiles, all - 1)), end(s, least(begin + 2 * tiles, all) - 1);
    const Ahead of_maps(maps, s.height, s.width * s.channels, next.image, next.top - s.pad_top, end.image,
                        end.top - s.pad_top + Kind::IN);
    const auto written = [&](const auto* numbers) {
        return Ahead(numbers, s.rows(), numbers ? s.columns() * s.filters : 0, first.image, first.top / s.shrink(),
                     last.image, (last.top + Kind::OUT) / s.shrink());
    };
    const Ahead of_end = written(outlet.end), of_winner = written(outlet.winner);
    in_panels(s.filters, [&](int64_t k, auto vectors) {
        const Panel panel{k, vectors * WIDTH, tiles * vectors * WIDTH + APART};
        for (int64_t place = 0; place < PLACES; ++place) {
            const int64_t from = k * PLACES + place * panel.many, to = from + panel.many, of = s.filters * PLACES;
            of_maps.fetch(from, to, of);
            of_end.fetch(from, to, of);
            of_winner.fetch(from, to, of);
            multiply_tiles<vectors>(inputs + place * s.in_step() * IN_A_FLOAT<Kind>,
                                    weights + (place * s.filters + k) * s.channels, sums + place * panel.step, panel.many, tiles, s.channels);
        }
        for (int64_t t = 0; t < tiles; ++t)
            transform_output(s, sums + t * panel.many, panel, bias, outlet, Tile<Kind>(s, begin + t));
    });
}

template <class Kind, class T>
void convolve(const T* maps, const typename Kind::Number* weights, const float* bias, const Outlet<T>& outlet,
              float* scratch, const Shape<Kind>& s) {
    const int64_t all = s.images * s.tiles(), blocks = (all + s.tiles_at_once - 1) / s.tiles_at_once;
#pragma omp parallel for schedule(static) num_threads(s.threads)
    for (int64_t block = 0; block < blocks; ++block) {
        const int64_t begin = block * s.tiles_at_once;
        convolve_block(s, maps, weights, bias, outlet, scratch + omp_get_thread_num() * s.scratch(), begin,
                       least(all - begin, s.tiles_at_once), all);
    }
}

// Calls work(begin, tiles) for blocks of tiles of some images, as equal as can be.
template <class Kind, class Work>
void in_equal_blocks(const Shape<Kind>& s, int64_t images, const Work& work) {
    const int64_t all = images * s.tiles(), blocks = (all + s.tiles_at_once - 1) / s.tiles_at_once;
    for (int64_t i = 0; i < blocks; ++i) {
        const int64_t begin = all * i / blocks;
        work(begin, all * (i + 1) / blocks - begin);
    }
}

// Calls work(part, first image, how many, weight, bias) for images that are taken together, part by part: the images of a part
// add to the same sums, one after the other.
template <class Kind, class Work>
void in_parts(const Shape<Kind>& s, float* weights, int64_t size, float* biases, const Work& work) {
    const int64_t groups = (s.images + s.together() - 1) / s.together();
#pragma omp parallel for schedule(static) num_threads(s.threads)
    for (int64_t part = 0; part < s.parts; ++part) {
        float *weight = weights ? weights + part * size : nullptr, *bias = biases + part * s.filters;
        if (weight) std::memset(weight, 0, size_t(size) * sizeof(float));
        std::memset(bias, 0, size_t(s.filters) * sizeof(float));
        for (int64_t group = groups * part / s.parts; group < groups * (part + 1) / s.parts; ++group)
            work(part, group * s.together(), least(s.together(), s.images - group * s.together()), weight, bias);
    }
}

// What of the gradient lies on the map, and not on its border.
template <class Kind, class T>
void write_gradient(const Shape<Kind>& s, const float* wide_image, T* image) {
    for (int64_t y = 0; y < s.height; ++y) {
        const float* row = wide_image + (y + s.pad_top) * s.wide_row() + s.pad_left * s.channels;
        T* to = image + y * s.width * s.channels;
        for (int64_t i = 0; i < s.width * s.channels; i += WIDTH) store(to + i, load(row + i));
    }
}

// The gradients that some images give, to which all pointers point.
template <class Kind, class T, class Given>
struct Backward {
    const Shape<Kind>& s;
    const T* maps;
    const Inlet<Given>& inlet;
    const typename Kind::Number* turned;  // places of [filter][channel]; null where the maps need no gradient
    float *weight, *bias;  // sums of this part of the images; `weight` is null where it needs no gradient
    float *inputs, *outputs, *wide_images;  // of this thread
    int64_t images, and_after;              // how many, and with those that follow
    const Given* begin_of_gradient;         // where it lies in memory, or null
    bool kept;                              // whether the maps lie in memory, too

    void block(int64_t begin, int64_t tiles) const {
        constexpr int64_t PLACES = Kind::PLACES;
        const int64_t in_step = s.in_step(), out_step = s.out_step(), size = s.channels * s.filters;
        const int64_t all = and_after * s.tiles();
        const Tile<Kind> next(s, least(begin + tiles, all - 1)), last(s, least(begin + 2 * tiles, all) - 1);
        const Ahead of_maps(maps, s.height, kept ? s.width * s.channels : 0, next.image, next.top - s.pad_top,
                            last.image, last.top - s.pad_top + Kind::IN);
        const auto behind = [&](const auto* numbers) {
            return Ahead(numbers, s.rows(), numbers ? s.columns() * s.filters : 0, next.image, next.top / s.shrink(),
                         last.image, (last.top + Kind::OUT) / s.shrink());
        };
        const Ahead of_gradient = behind(begin_of_gradient), of_out = behind(inlet.out), of_winner = behind(inlet.winner);
        using Number = typename Kind::Number;
        for (int64_t t = 0; t < tiles; ++t)
            transform_output_transposed(s, inlet, Tile<Kind>(s, begin + t),
                                        reinterpret_cast<Number*>(outputs) + t * s.filters, bias);
        for (int64_t t = 0; weight && t < tiles; ++t)
            transform_input(s, maps, Tile<Kind>(s, begin + t), reinterpret_cast<Number*>(inputs) + t * s.channels);
        for (int64_t place = 0; place < PLACES; ++place) {  // both products while its numbers are near
            float* sums = inputs + place * in_step;  // in place of the transformed inputs
            const auto *in = reinterpret_cast<Number*>(sums), *out = reinterpret_cast<Number*>(outputs + place * out_step);
            for (const Ahead* rows : {&of_maps, &of_gradient, &of_out, &of_winner})
                rows->fetch(place, place + 1, PLACES);
            if (weight) add_products(s, in, out, weight + place * size, tiles);
            if (turned)
                in_panels(s.channels, [&](int64_t c, auto vectors) {
                    multiply_tiles<vectors>(out, turned + place * size + c * s.filters, sums + c, s.channels, tiles,
                                            s.filters);
                });
        }
        for (int64_t t = 0; turned && t < tiles; ++t) {
            const Tile<Kind> tile(s, begin + t);
            transform_input_transposed(s, inputs + t * s.channels, tile, wide_images + tile.image * s.wide_image());
        }
    }

    // Leaves the gradient of the maps in `wide_images`.
    void run() const {
        if (turned) std::memset(wide_images, 0, size_t(images * s.wide_image()) * sizeof(float));
        in_equal_blocks(s, images, [&](int64_t begin, int64_t tiles) { block(begin, tiles); });
    }
};

// weights: (parts, places, channels · filters in panels); biases: (parts, filters).
template <class Kind, class T>
void convolve_gradient(const T* maps, const Inlet<T>& inlet, const typename Kind::Number* turned, T* gradient,
                       float* weights, float* biases, float* scratch, const Shape<Kind>& s) {
    const int64_t size = Kind::PLACES * s.channels * s.filters, image = s.height * s.width * s.channels;
    in_parts(s, weights, size, biases, [&](int64_t, int64_t first, int64_t count, float* weight, float* bias) {
        float* inputs = scratch + omp_get_thread_num() * s.scratch_backward();
        float *outputs = inputs + Kind::PLACES * s.in_step(), *wide_images = inputs + s.scratch();
        const Inlet<T> from = inlet.from(first * s.rows() * s.columns() * s.filters);
        Backward<Kind, T, T>{s,       maps + first * image, from,  turned,           weight,        bias, inputs,
                             outputs, wide_images,          count, s.images - first, from.gradient, true}
            .run();
        for (int64_t n = 0; turned && n < count; ++n)
            write_gradient(s, wide_images + n * s.wide_image(), gradient + (first + n) * image);
    });
}

// ---- with the first convolution of the network before it ------------------------------------------------------------

// The images that a thread has in hand: pictures with their border, the maps of the first convolution, and what is
// written or comes back where it is to be `flat`, map after map: all pixel by pixel, and one turned.
struct InHand {
    float *bordered, *maps, *written, *turned;

    template <class Kind>
    static int64_t numbers(const Shape<Kind>& s) {
        return s.rows() * s.columns() * s.filters;
    }
    template <class Kind>
    static int64_t floats(const Shape<Kind>& s, const First& first) {
        return s.together() * (first.bordered() + first.maps() + numbers(s)) + numbers(s);
    }

    template <class Kind>
    InHand(const Shape<Kind>& s, const First& first, float* memory)
        : bordered(memory + s.together() * (first.maps() + numbers(s)) + numbers(s)),
          maps(memory),
          written(memory + s.together() * first.maps()),
          turned(written + s.together() * numbers(s)) {}

    void make(const First& first, int64_t image, int64_t count) const {
        for (int64_t n = 0; n < count; ++n) {
            first.border(image + n, bordered + n * first.bordered());
            first.forward(bordered + n * first.bordered(), maps + n * first.maps(), first.maps_row());
        }
    }

    // One image to map after map, and its gradient back.
    void flatten(const float* image, float* to, int64_t pixels, int64_t filters) const {
        turn_one(image, to, pixels, filters);
    }
    void flatten(const float* image, bfloat16* to, int64_t pixels, int64_t filters) const {
        turn_one(image, turned, pixels, filters);
        for (int64_t i = 0; i < pixels * filters; i += WIDTH) store(to + i, load(turned + i));
    }
    void unflatten(const float* gradient, float* image, int64_t pixels, int64_t filters) const {
        turn_one(gradient, image, filters, pixels);
    }
    void unflatten(const bfloat16* gradient, float* image, int64_t pixels, int64_t filters) const {
        for (int64_t i = 0; i < pixels * filters; i += WIDTH) store(turned + i, load(gradient + i));
        turn_one(turned, image, filters, pixels);
    }
};

template <class Kind, class T>
void convolve_two(const First& before, const typename Kind::Number* weights, const float* bias, const Outlet<T>& outlet,
                  bool flat, float* scratch, const Shape<Kind>& s) {
    const int64_t groups = (s.images + s.together() - 1) / s.together();
    const int64_t pixels = s.rows() * s.columns(), numbers = pixels * s.filters;
#pragma omp parallel for schedule(static) num_threads(s.threads)
    for (int64_t group = 0; group < groups; ++group) {
        const int64_t first = group * s.together(), count = least(s.together(), s.images - first);
        float *inputs = scratch + omp_get_thread_num() * (s.scratch() + InHand::floats(s, before));
        const InHand hand(s, before, inputs + s.scratch());
        Outlet<T> out = outlet.from(first * numbers);
        out.dropout = outlet.dropout.from(first);
        hand.make(before, first, count);
        const auto to = [&](const auto& where) {
            in_equal_blocks(s, count, [&](int64_t begin, int64_t tiles) {
                convolve_block(s, hand.maps, weights, bias, where, inputs, begin, tiles, count * s.tiles());
            });
        };
        if (!flat) {
            to(out);
            continue;
        }
        to(Outlet<float>{hand.written, out.winner, out.dropout, nullptr});
        for (int64_t n = 0; n < count; ++n)
            hand.flatten(hand.written + n * numbers, out.out + n * numbers, pixels, s.filters);
    }
}

// befores: (parts, taps + 1, channels), the gradients of the first convolution's weight and bias.
template <class Kind, class T>
void convolve_two_gradient(const First& before, const Inlet<T>& inlet, bool flat, const typename Kind::Number* turned,
                           float* befores, float* weights, float* biases, float* scratch, const Shape<Kind>& s) {
    const int64_t size = Kind::PLACES * s.channels * s.filters, size_before = (before.f.taps() + 1) * s.channels;
    const int64_t pixels = s.rows() * s.columns(), numbers = pixels * s.filters;
    std::memset(befores, 0, sizeof(float) * size_before * s.parts);
    in_parts(s, weights, size, biases, [&](int64_t part, int64_t first, int64_t count, float* weight, float* bias) {
        float* inputs = scratch + omp_get_thread_num() * (s.scratch_backward() + InHand::floats(s, before));
        float *outputs = inputs + Kind::PLACES * s.in_step(), *wide_images = inputs + s.scratch();
        const InHand hand(s, before, inputs + s.scratch_backward());
        hand.make(before, first, count);
        const Inlet<T> given = inlet.from(first * numbers);
        const auto back = [&](const auto& from, const auto* in_memory) {
            using Given = std::remove_const_t<std::remove_pointer_t<decltype(from.gradient)>>;
            Backward<Kind, float, Given>{s,       hand.maps,   from,  turned,           weight,    bias, inputs,
                                         outputs, wide_images, count, s.images - first, in_memory, false}
                .run();
        };
        if (flat) {
            for (int64_t n = 0; n < count; ++n)
                hand.unflatten(given.gradient + n * numbers, hand.written + n * numbers, pixels, s.filters);
            back(Inlet<float>{hand.written, nullptr, given.winner, given.scale}, static_cast<const float*>(nullptr));
        } else {
            back(given, given.gradient);
        }
        float* sums = befores + part * size_before;
        for (int64_t n = 0; turned && n < count; ++n)
            before.backward(hand.bordered + n * before.bordered(), hand.maps + n * before.maps(), before.maps_row(),
                            wide_images + n * s.wide_image() + s.pad_top * s.wide_row() + s.pad_left * s.channels,
                            s.wide_row(), sums);
    });
}

}  // namespace

// ---- what Python calls --------------------------------------------------------------------------------------------

#define FOR_NUMBERS(T, Kind, NAME)                                                                                  \
    void convolve_##NAME(const T* maps, const Kind::Number* weights, const float* bias, T* out, uint8_t* winner,    \
                         float* scratch, const Sizes* sizes, const Dropout* dropout) {                              \
        convolve(maps, weights, bias, Outlet<T>{out, winner, *dropout, out}, scratch, Shape<Kind>(*sizes));         \
    }                                                                                                               \
    void convolve_gradient_##NAME(const T* maps, const T* out_gradient, const T* out, const uint8_t* winner,        \
                                  float scale, const Kind::Number* turned, T* gradient, float* weights,             \
                                  float* biases, float* scratch, const Sizes* sizes) {                              \
        convolve_gradient(maps, Inlet<T>{out_gradient, out, winner, scale}, turned, gradient, weights, biases,      \
                          scratch, Shape<Kind>(*sizes));                                                            \
    }

// `scratch`: floats that all threads together need, forward and backward.
#define FOR_KIND(Kind, NAME)                                                                                        \
    void scratch_##NAME(int64_t* forward_backward, const Sizes* sizes) {                                            \
        const Shape<Kind> shape(*sizes);                                                                            \
        forward_backward[0] = shape.threads * shape.scratch();                                                      \
        forward_backward[1] = shape.threads * shape.scratch_backward();                                             \
    }                                                                                                               \
    void transform_weight_##NAME(const float* weight, Kind::Number* places, int64_t rows, int64_t columns,          \
                                 int64_t threads) {                                                                 \
        transform_weight<Kind>(weight, places, rows, columns, threads);                                             \
    }                                                                                                               \
    void sum_weight_gradient_##NAME(float* parts, float* gradient, int64_t rows, int64_t columns, int64_t how_many, \
                                    int64_t threads) {                                                              \
        sum_weight_gradient<Kind>(parts, gradient, rows, columns, how_many, threads);                               \
    }

// The network's first convolution and relu, then this one; pictures are float.
#define FOR_TWO(T, Kind, NAME)                                                                                      \
    void convolve_two_##NAME(const float* pictures, const float* weight_before, const float* bias_before,           \
                             const Kind::Number* weights, const float* bias, T* out, uint8_t* winner, int64_t flat, \
                             float* scratch, const Few* few, const Sizes* sizes, const Dropout* dropout) {          \
        convolve_two(First{pictures, weight_before, bias_before, *few}, weights, bias,                              \
                     Outlet<T>{out, winner, *dropout, out}, flat, scratch, Shape<Kind>(*sizes));                    \
    }                                                                                                               \
    void convolve_two_gradient_##NAME(                                                                              \
        const float* pictures, const float* weight_before, const float* bias_before, const T* out_gradient,         \
        const T* out, const uint8_t* winner, float scale, int64_t flat, const Kind::Number* turned, float* befores, \
        float* weights, float* biases, float* scratch, const Few* few, const Sizes* sizes) {                        \
        convolve_two_gradient(First{pictures, weight_before, bias_before, *few},                                    \
                              Inlet<T>{out_gradient, out, winner, scale}, flat, turned, befores, weights, biases,   \
                              scratch, Shape<Kind>(*sizes));                                                        \
    }

#define FOR_SCRATCH_TWO(Kind, NAME)                                                                                 \
    void scratch_two_##NAME(int64_t* forward_backward, const Few* few, const Sizes* sizes) {                        \
        const Shape<Kind> shape(*sizes);                                                                            \
        const int64_t hand = InHand::floats(shape, First{nullptr, nullptr, nullptr, *few});                         \
        forward_backward[0] = shape.threads * (shape.scratch() + hand);                                             \
        forward_backward[1] = shape.threads * (shape.scratch_backward() + hand);                                    \
    }

// A 3×3 convolution of stride 1 and its gradients with 36 instead of 144 products for each 4×4 block of the output,
// F(4×4, 3×3) of Lavin & Gray (2016): transform the 6×6 inputs of a tile, multiply place by place over the channels,
// transform back. Bias, a 2×2 max-pool, relu and dropout happen before the result is written. The gradients are the same
// three steps, each transposed, in the opposite order. Channels and filters are multiples of 16. Maps of 2×2 pixels with
// a border of one have tiles of their own, with 9 products instead of 36.
//
// Maps lie pixel by pixel: (images, rows, columns, channels), float or bfloat16 (the upper half of a float's bits);
// all arithmetic is float. Sums over images are made in parts that do not depend on the number of threads, so that
// every number of threads gives the same bits.

#include <omp.h>

#include "dropout.h"
#include "vectors.h"

namespace {

constexpr int64_t TAPS = 3;
constexpr int64_t APART = 16;  // floats between places, so that they do not meet in one set of the cache

// ---- transforms of one dimension ----------------------------------------------------------------------------------

// The polynomials are taken at 0, ±A, ±B and infinity. With 5/8 and 3/2 the result is four times as exact as with the
// usual 1 and 2 (measured), and every constant below is exact. `winograd.py` has the same two numbers.
constexpr float A = 0.625f, B = 1.5f, A2 = A * A, B2 = B * B, A3 = A2 * A, B3 = B2 * B;
constexpr double SCALE_A = 1.0 / (2.0 * A2 * (A2 - B2)), SCALE_B = 1.0 / (2.0 * B2 * (B2 - A2));
constexpr double SCALE_0 = 1.0 / (double(A2) * B2);

// 4×4 outputs of 6×6 inputs.
struct Large {
    static constexpr int64_t IN = 6, OUT = 4, SIDE = 6, PLACES = SIDE * SIDE;

    static inline void into_places(const Vector d[IN], Vector v[IN]) {
        v[0] = (A2 * B2) * d[0] - (A2 + B2) * d[2] + d[4];
        const Vector even_a = d[4] - B2 * d[2], odd_a = A * (d[3] - B2 * d[1]);
        v[1] = even_a + odd_a;
        v[2] = even_a - odd_a;
        const Vector even_b = d[4] - A2 * d[2], odd_b = B * (d[3] - A2 * d[1]);
        v[3] = even_b + odd_b;
        v[4] = even_b - odd_b;
        v[5] = (A2 * B2) * d[1] - (A2 + B2) * d[3] + d[5];
    }

    static inline void into_places_transposed(const Vector v[IN], Vector d[IN]) {
        const Vector even_a = v[1] + v[2], odd_a = A * (v[1] - v[2]), even_b = v[3] + v[4], odd_b = B * (v[3] - v[4]);
        d[0] = (A2 * B2) * v[0];
        d[1] = (A2 * B2) * v[5] - B2 * odd_a - A2 * odd_b;
        d[2] = -(A2 + B2) * v[0] - B2 * even_a - A2 * even_b;
        d[3] = odd_a + odd_b - (A2 + B2) * v[5];
        d[4] = v[0] + even_a + even_b;
        d[5] = v[5];
    }

    static inline void from_places(const Vector m[IN], Vector y[OUT]) {
        const Vector even_a = m[1] + m[2], odd_a = m[1] - m[2], even_b = m[3] + m[4], odd_b = m[3] - m[4];
        y[0] = m[0] + even_a + even_b;
        y[1] = A * odd_a + B * odd_b;
        y[2] = A2 * even_a + B2 * even_b;
        y[3] = A3 * odd_a + B3 * odd_b + m[5];
    }

    static inline void from_places_transposed(const Vector y[OUT], Vector m[IN]) {
        const Vector even_a = y[0] + A2 * y[2], odd_a = A * (y[1] + A2 * y[3]);
        const Vector even_b = y[0] + B2 * y[2], odd_b = B * (y[1] + B2 * y[3]);
        m[0] = y[0];
        m[1] = even_a + odd_a;
        m[2] = even_a - odd_a;
        m[3] = even_b + odd_b;
        m[4] = even_b - odd_b;
        m[5] = y[3];
    }

    static inline void weight_into_places(const Vector g[TAPS], Vector u[IN]) {
        const Vector even_a = float(SCALE_A) * (g[0] + A2 * g[2]), odd_a = float(SCALE_A * A) * g[1];
        const Vector even_b = float(SCALE_B) * (g[0] + B2 * g[2]), odd_b = float(SCALE_B * B) * g[1];
        u[0] = float(SCALE_0) * g[0];
        u[1] = even_a + odd_a;
        u[2] = even_a - odd_a;
        u[3] = even_b + odd_b;
        u[4] = even_b - odd_b;
        u[5] = g[2];
    }

    static inline void weight_into_places_transposed(const Vector u[IN], Vector g[TAPS]) {
        const Vector even_a = float(SCALE_A) * (u[1] + u[2]), even_b = float(SCALE_B) * (u[3] + u[4]);
        g[0] = float(SCALE_0) * u[0] + even_a + even_b;
        g[1] = float(SCALE_A * A) * (u[1] - u[2]) + float(SCALE_B * B) * (u[3] - u[4]);
        g[2] = A2 * even_a + B2 * even_b + u[5];
    }
};

// All 2×2 outputs of a 2×2 map with a border of zeros: y₀ = w₁ x₀ + w₂ x₁ and y₁ = w₀ x₀ + w₁ x₁ with three products,
// w₁ (x₀ + x₁), (w₂ - w₁) x₁ and (w₀ - w₁) x₀. The border is not among the inputs.
struct Small {
    static constexpr int64_t IN = 2, OUT = 2, SIDE = 3, PLACES = SIDE * SIDE;

    static inline void into_places(const Vector d[IN], Vector v[SIDE]) {
        v[0] = d[0] + d[1];
        v[1] = d[1];
        v[2] = d[0];
    }

    static inline void into_places_transposed(const Vector v[SIDE], Vector d[IN]) {
        d[0] = v[0] + v[2];
        d[1] = v[0] + v[1];
    }

    static inline void from_places(const Vector m[SIDE], Vector y[OUT]) {
        y[0] = m[0] + m[1];
        y[1] = m[0] + m[2];
    }

    static inline void from_places_transposed(const Vector y[OUT], Vector m[SIDE]) {
        m[0] = y[0] + y[1];
        m[1] = y[0];
        m[2] = y[1];
    }

    static inline void weight_into_places(const Vector g[TAPS], Vector u[SIDE]) {
        u[0] = g[1];
        u[1] = g[2] - g[1];
        u[2] = g[0] - g[1];
    }

    static inline void weight_into_places_transposed(const Vector u[SIDE], Vector g[TAPS]) {
        g[0] = u[2];
        g[1] = u[0] - u[1] - u[2];
        g[2] = u[1];
    }
};

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
    int64_t in_step() const { return tiles_at_once * channels + APART; }
    int64_t out_step() const { return tiles_at_once * filters + APART; }
    int64_t scratch() const { return PLACES * (in_step() + out_step()); }  // floats, for one thread
    // The backward pass takes so many images together, and adds up their gradient with the border that tiles need.
    int64_t together() const { return tiles() < tiles_at_once ? tiles_at_once / tiles() : 1; }
    int64_t wide_row() const { return (across() * OUT + IN - OUT) * channels; }
    int64_t wide_image() const { return (down() * OUT + IN - OUT) * wide_row(); }
    int64_t scratch_backward() const { return scratch() + together() * wide_image(); }
};

template <class Kind>
struct Tile {
    int64_t image, top, left;  // of the output

    Tile(const Shape<Kind>& s, int64_t number)
        : image(number / s.tiles()),
          top(number % s.tiles() / s.across() * Kind::OUT),
          left(number % s.across() * Kind::OUT) {}
};

// ---- a 2×2 max-pool, relu and dropout in registers ----------------------------------------------------------------

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

// ---- transforms of one tile ---------------------------------------------------------------------------------------

// The inputs of one tile, transformed, to places[place][tile][channel].
template <class Kind, class T>
void transform_input(const Shape<Kind>& s, const T* maps, const Tile<Kind>& tile, float* places) {
    constexpr int64_t IN = Kind::IN, SIDE = Kind::SIDE;
    const int64_t top = tile.top - s.pad_top, left = tile.left - s.pad_left, step = s.in_step();
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

// What a convolution hands on: maps, and after a pool also who won each window (null for scoring).
template <class T>
struct Outlet {
    T* out;
    uint8_t* winner;
    const Dropout& dropout;

    void write(int64_t at, Vector value) const { store(out + at, value); }
    void write(int64_t at, Vector best, Words who) const {
        store(out + at, best);
        if (winner) store(winner + at, who);
    }
};

// One tile back, with bias, pool, relu and dropout.
template <class Kind, class T>
void transform_output(const Shape<Kind>& s, const float* sums, const float* bias, const Outlet<T>& outlet,
                      const Tile<Kind>& tile) {
    constexpr int64_t OUT = Kind::OUT, SIDE = Kind::SIDE;
    const int64_t rows = s.rows(), columns = s.columns(), step = s.out_step();
    const int64_t top = tile.top / s.shrink(), left = tile.left / s.shrink(), size = OUT / s.shrink();
    for (int64_t k = 0; k < s.filters; k += WIDTH) {
        Vector half[SIDE][OUT], result[OUT][OUT];
        for (int64_t x = 0; x < SIDE; ++x) {
            Vector m[SIDE];
            for (int64_t y = 0; y < SIDE; ++y) m[y] = load(sums + (y * SIDE + x) * step + k);
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

// The gradient that comes back: of the maps that were written, which are there to say where a relu was off, or who won
// each window of a pool, with the dropout's factor.
template <class T>
struct Inlet {
    const T *gradient, *out;
    const uint8_t* winner;
    float scale;
};

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
void transform_output_transposed(const Shape<Kind>& s, const Inlet<T>& inlet, const Tile<Kind>& tile, float* places,
                                 float* bias) {
    constexpr int64_t OUT = Kind::OUT, SIDE = Kind::SIDE;
    const int64_t step = s.out_step();
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
void transform_input_transposed(const Shape<Kind>& s, const float* places, const Tile<Kind>& tile, float* wide_image) {
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

// sums[tile][filter] = Σ inputs[tile][channel] · weights[channel][filter].
inline void multiply_tiles(const float* inputs, const float* weights, float* sums, int64_t tiles, int64_t channels,
                           int64_t filters) {
    in_panels(filters, [&](int64_t k, auto vectors) {
        multiply_rows<false, vectors>(inputs, channels, 1, weights + k, filters, sums + k, filters, tiles, channels);
    });
}

// weights[channel][filter] += Σ inputs[tile][channel] · outputs[tile][filter].
inline void add_products(const float* inputs, const float* outputs, float* weights, int64_t tiles, int64_t channels,
                         int64_t filters) {
    in_panels(filters, [&](int64_t k, auto vectors) {
        multiply_rows<true, vectors>(inputs, 1, channels, outputs + k, filters, weights + k, filters, channels, tiles);
    });
}

// Rows of maps that will be wanted soon, brought nearer bit by bit while tiles are multiplied.
struct Ahead {
    const char *begin, *end;

    template <class T>
    Ahead(const T* maps, int64_t height, int64_t row_numbers, int64_t image, int64_t row, int64_t last_image,
          int64_t last_row)
        : begin(reinterpret_cast<const char*>(maps + (image * height + within(row, height)) * row_numbers)),
          end(reinterpret_cast<const char*>(maps + (last_image * height + within(last_row, height)) * row_numbers)) {}

    static int64_t within(int64_t row, int64_t height) { return row < 0 ? 0 : least(row, height); }

    void fetch(int64_t place, int64_t places) const {
        const int64_t lines = (end - begin) / LINE;
        for (int64_t i = lines * place / places; i < lines * (place + 1) / places; ++i)
            __builtin_prefetch(begin + i * LINE);
    }
};

// ---- the three passes ---------------------------------------------------------------------------------------------

template <class Kind, class T>
void convolve(const T* maps, const float* weights, const float* bias, const Outlet<T>& outlet, float* scratch,
              const Shape<Kind>& s) {
    constexpr int64_t PLACES = Kind::PLACES;
    const int64_t all = s.images * s.tiles(), blocks = (all + s.tiles_at_once - 1) / s.tiles_at_once;
#pragma omp parallel for schedule(static) num_threads(s.threads)
    for (int64_t block = 0; block < blocks; ++block) {
        float *inputs = scratch + omp_get_thread_num() * s.scratch(), *sums = inputs + PLACES * s.in_step();
        const int64_t begin = block * s.tiles_at_once, tiles = least(all - begin, s.tiles_at_once);
        for (int64_t t = 0; t < tiles; ++t)
            transform_input(s, maps, Tile<Kind>(s, begin + t), inputs + t * s.channels);
        const Tile<Kind> first(s, begin), last(s, begin + tiles - 1);
        const Tile<Kind> next(s, least(begin + tiles, all - 1)), end(s, least(begin + 2 * tiles, all) - 1);
        const Ahead of_maps(maps, s.height, s.width * s.channels, next.image, next.top - s.pad_top, end.image,
                            end.top - s.pad_top + Kind::IN);
        const Ahead of_out(outlet.out, s.rows(), s.columns() * s.filters, first.image, first.top / s.shrink(),
                           last.image, (last.top + Kind::OUT) / s.shrink());
        for (int64_t place = 0; place < PLACES; ++place) {
            of_maps.fetch(place, PLACES);
            of_out.fetch(place, PLACES);
            multiply_tiles(inputs + place * s.in_step(), weights + place * s.channels * s.filters,
                           sums + place * s.out_step(), tiles, s.channels, s.filters);
        }
        for (int64_t t = 0; t < tiles; ++t)
            transform_output(s, sums + t * s.filters, bias, outlet, Tile<Kind>(s, begin + t));
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

// The gradients that one block of tiles gives.
template <class Kind, class T>
struct Backward {
    const Shape<Kind>& s;
    const T* maps;
    const Inlet<T>& inlet;
    const float* turned;  // [place][filter][channel]; null where the maps need no gradient
    T* gradient;
    float *weight, *bias;  // sums of this part of the images; `weight` is null where it needs no gradient
    float *inputs, *outputs, *wide_images;  // of this thread

    void block(int64_t first_image, int64_t begin, int64_t tiles) const {
        constexpr int64_t PLACES = Kind::PLACES;
        const int64_t in_step = s.in_step(), out_step = s.out_step(), size = s.channels * s.filters;
        for (int64_t t = 0; t < tiles; ++t)
            transform_output_transposed(s, inlet, Tile<Kind>(s, begin + t), outputs + t * s.filters, bias);
        for (int64_t t = 0; weight && t < tiles; ++t)
            transform_input(s, maps, Tile<Kind>(s, begin + t), inputs + t * s.channels);
        for (int64_t place = 0; weight && place < PLACES; ++place)
            add_products(inputs + place * in_step, outputs + place * out_step, weight + place * size, tiles,
                         s.channels, s.filters);
        for (int64_t place = 0; turned && place < PLACES; ++place)
            multiply_tiles(outputs + place * out_step, turned + place * size, inputs + place * in_step, tiles,
                           s.filters, s.channels);
        for (int64_t t = 0; turned && t < tiles; ++t) {
            const Tile<Kind> tile(s, begin + t);
            transform_input_transposed(s, inputs + t * s.channels, tile,
                                       wide_images + (tile.image - first_image) * s.wide_image());
        }
    }

    void images(int64_t first, int64_t count) const {
        const int64_t all = count * s.tiles(), blocks = (all + s.tiles_at_once - 1) / s.tiles_at_once;
        if (turned) std::memset(wide_images, 0, size_t(count * s.wide_image()) * sizeof(float));
        for (int64_t i = 0; i < blocks; ++i) {  // as equal as can be
            const int64_t begin = all * i / blocks, end = all * (i + 1) / blocks;
            block(first, first * s.tiles() + begin, end - begin);
        }
        for (int64_t n = 0; turned && n < count; ++n)
            write_gradient(s, wide_images + n * s.wide_image(),
                           gradient + (first + n) * s.height * s.width * s.channels);
    }
};

// weights: (parts, PLACES, channels, filters); biases: (parts, filters).
template <class Kind, class T>
void convolve_gradient(const T* maps, const Inlet<T>& inlet, const float* turned, T* gradient, float* weights,
                       float* biases, float* scratch, const Shape<Kind>& s) {
    const int64_t groups = (s.images + s.together() - 1) / s.together();
    const int64_t size = Kind::PLACES * s.channels * s.filters;
#pragma omp parallel for schedule(static) num_threads(s.threads)
    for (int64_t part = 0; part < s.parts; ++part) {
        float* inputs = scratch + omp_get_thread_num() * s.scratch_backward();
        float* outputs = inputs + Kind::PLACES * s.in_step();
        float *weight = weights ? weights + part * size : nullptr, *bias = biases + part * s.filters;
        if (weight) std::memset(weight, 0, size_t(size) * sizeof(float));
        std::memset(bias, 0, size_t(s.filters) * sizeof(float));
        const Backward<Kind, T> backward{s,      maps, inlet,  turned,  gradient,
                                         weight, bias, inputs, outputs, inputs + s.scratch()};
        for (int64_t group = groups * part / s.parts; group < groups * (part + 1) / s.parts; ++group) {
            const int64_t first = group * s.together();
            backward.images(first, least(s.together(), s.images - first));
        }
    }
}

// ---- weights ------------------------------------------------------------------------------------------------------

// weight (3, 3, a, b) to places (PLACES, a, b), for a · b = count.
template <class Kind>
void transform_weight(const float* weight, float* places, int64_t count, int64_t threads) {
    constexpr int64_t SIDE = Kind::SIDE;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < count; i += WIDTH) {
        Vector half[TAPS][SIDE];
        for (int64_t x = 0; x < TAPS; ++x) {
            Vector g[TAPS];
            for (int64_t y = 0; y < TAPS; ++y) g[y] = load(weight + (y * TAPS + x) * count + i);
            Kind::weight_into_places(g, half[x]);
        }
        for (int64_t y = 0; y < SIDE; ++y) {
            Vector g[TAPS], u[SIDE];
            for (int64_t x = 0; x < TAPS; ++x) g[x] = half[x][y];
            Kind::weight_into_places(g, u);
            for (int64_t x = 0; x < SIDE; ++x) store(places + (y * SIDE + x) * count + i, u[x]);
        }
    }
}

// The parts (parts, PLACES, a, b) of the gradient, summed in order, to the gradient (3, 3, a, b).
template <class Kind>
void sum_weight_gradient(const float* parts, float* gradient, int64_t count, int64_t how_many, int64_t threads) {
    constexpr int64_t SIDE = Kind::SIDE;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < count; i += WIDTH) {
        Vector half[SIDE][TAPS];
        for (int64_t x = 0; x < SIDE; ++x) {
            Vector u[SIDE];
            for (int64_t y = 0; y < SIDE; ++y) {
                const float* from = parts + (y * SIDE + x) * count + i;
                u[y] = load(from);
                for (int64_t part = 1; part < how_many; ++part) u[y] += load(from + part * Kind::PLACES * count);
            }
            Kind::weight_into_places_transposed(u, half[x]);
        }
        for (int64_t y = 0; y < TAPS; ++y) {
            Vector u[SIDE], g[TAPS];
            for (int64_t x = 0; x < SIDE; ++x) u[x] = half[x][y];
            Kind::weight_into_places_transposed(u, g);
            for (int64_t x = 0; x < TAPS; ++x) store(gradient + (y * TAPS + x) * count + i, g[x]);
        }
    }
}

}  // namespace

// ---- what Python calls --------------------------------------------------------------------------------------------

#define FOR_NUMBERS(T, Kind, NAME)                                                                                  \
    void convolve_##NAME(const T* maps, const float* weights, const float* bias, T* out, uint8_t* winner,           \
                         float* scratch, const Sizes* sizes, const Dropout* dropout) {                              \
        convolve(maps, weights, bias, Outlet<T>{out, winner, *dropout}, scratch, Shape<Kind>(*sizes));              \
    }                                                                                                               \
    void convolve_gradient_##NAME(const T* maps, const T* out_gradient, const T* out, const uint8_t* winner,        \
                                  float scale, const float* turned, T* gradient, float* weights, float* biases,     \
                                  float* scratch, const Sizes* sizes) {                                             \
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
    void transform_weight_##NAME(const float* weight, float* places, int64_t count, int64_t threads) {              \
        transform_weight<Kind>(weight, places, count, threads);                                                     \
    }                                                                                                               \
    void sum_weight_gradient_##NAME(const float* parts, float* gradient, int64_t count, int64_t how_many,           \
                                    int64_t threads) {                                                              \
        sum_weight_gradient<Kind>(parts, gradient, count, how_many, threads);                                       \
    }

extern "C" {

FOR_NUMBERS(float, Large, float32)
FOR_NUMBERS(bfloat16, Large, bfloat16)
FOR_NUMBERS(float, Small, small_float32)
FOR_KIND(Large, float32)
FOR_KIND(Small, small_float32)

}  // extern "C"

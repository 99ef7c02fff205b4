// A 3×3 convolution of stride 1 and its gradients with 36 instead of 144 products for each 4×4 block of the output,
// F(4×4, 3×3) of Lavin & Gray (2016): transform the 6×6 inputs of a tile, multiply place by place over the channels,
// transform back. Bias, relu and (for scoring) a 2×2 max-pool happen before the result is written. The gradients are
// the same three steps, each transposed, in the opposite order. Channels and filters are multiples of 16.
//
// Maps lie pixel by pixel: (images, rows, columns, channels), float or bfloat16 (the upper half of a float's bits);
// all arithmetic is float. Sums over images are made in parts that do not depend on the number of threads, so that
// every number of threads gives the same bits.

#include <omp.h>

#include <cstdint>
#include <cstring>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace {

using bfloat16 = uint16_t;
using std::int64_t;

#if defined(__AVX512F__)
constexpr int64_t WIDTH = 16, MOST_COLUMNS = 4;  // 24 sums in 32 registers
#elif defined(__AVX2__)
constexpr int64_t WIDTH = 8, MOST_COLUMNS = 2;  // 12 sums in 16 registers
#else
constexpr int64_t WIDTH = 4, MOST_COLUMNS = 4;
#endif
constexpr int64_t MOST_ROWS = 6;  // tiles, or channels, multiplied at a time; then 4, then 2
constexpr int64_t PLACES = 36;    // of a 6×6 tile
constexpr int64_t OUT = 4;        // rows and columns of output of a tile
constexpr int64_t IN = 6;
constexpr int64_t TAPS = 3;
constexpr int64_t LINE = 64;       // bytes of the cache that come together
constexpr int64_t APART = 16;     // floats between places, so that they do not meet in one set of the cache

typedef float Vector __attribute__((vector_size(WIDTH * 4), aligned(4), may_alias));
typedef uint32_t Words __attribute__((vector_size(WIDTH * 4), aligned(4), may_alias));
typedef bfloat16 Halves __attribute__((vector_size(WIDTH * 2), aligned(2), may_alias));

struct Shape {
    int64_t images, height, width, channels, filters, out_height, out_width, pad_top, pad_left;
    int64_t relu, pool, tiles_at_once, threads, parts;

    int64_t across() const { return (out_width + OUT - 1) / OUT; }
    int64_t down() const { return (out_height + OUT - 1) / OUT; }
    int64_t tiles() const { return across() * down(); }  // of one image
    int64_t in_step() const { return tiles_at_once * channels + APART; }
    int64_t out_step() const { return tiles_at_once * filters + APART; }
    int64_t scratch() const { return PLACES * (in_step() + out_step()); }  // floats, for one thread
    // The backward pass takes so many images together, and adds up their gradient with the border that tiles need.
    int64_t together() const { return tiles() < tiles_at_once ? tiles_at_once / tiles() : 1; }
    int64_t wide_row() const { return (across() * OUT + IN - OUT) * channels; }
    int64_t wide_image() const { return (down() * OUT + IN - OUT) * wide_row(); }
    int64_t scratch_backward() const { return scratch() + together() * wide_image(); }
};

inline Vector load(const float* from) { return *reinterpret_cast<const Vector*>(from); }
inline Vector load(const bfloat16* from) {
#ifdef __AVX512F__  // some compilers make five instructions of the general form
    const Words words = Words(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)from)));
#else
    const Words words = __builtin_convertvector(*reinterpret_cast<const Halves*>(from), Words);
#endif
    return Vector(words << 16);
}
inline void store(float* to, Vector value) { *reinterpret_cast<Vector*>(to) = value; }
inline void store(bfloat16* to, Vector value) {  // to the nearest, halves to even
#ifdef __AVX512BF16__
    _mm256_storeu_si256((__m256i*)to, (__m256i)_mm512_cvtneps_pbh((__m512)value));
#else
    const Words bits = Words(value), rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
    const Words not_numbers = Words(value != value);
    *reinterpret_cast<Halves*>(to) = __builtin_convertvector((rounded & ~not_numbers) | (not_numbers & 0x7FC0), Halves);
#endif
}
inline Vector larger(Vector a, Vector b) { return a > b ? a : b; }
inline Vector where_positive(Vector of, Vector value) { return of <= 0.0f ? Vector{} : value; }  // keeps no-numbers
inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// ---- transforms of one dimension ----------------------------------------------------------------------------------

// The polynomials are taken at 0, ±A, ±B and infinity. With 5/8 and 3/2 the result is four times as exact as with the
// usual 1 and 2 (measured), and every constant below is exact. `winograd.py` has the same two numbers.
constexpr float A = 0.625f, B = 1.5f, A2 = A * A, B2 = B * B, A3 = A2 * A, B3 = B2 * B;
constexpr double SCALE_A = 1.0 / (2.0 * A2 * (A2 - B2)), SCALE_B = 1.0 / (2.0 * B2 * (B2 - A2));
constexpr double SCALE_0 = 1.0 / (double(A2) * B2);

inline void into_places(const Vector d[IN], Vector v[IN]) {
    v[0] = (A2 * B2) * d[0] - (A2 + B2) * d[2] + d[4];
    const Vector even_a = d[4] - B2 * d[2], odd_a = A * (d[3] - B2 * d[1]);
    v[1] = even_a + odd_a;
    v[2] = even_a - odd_a;
    const Vector even_b = d[4] - A2 * d[2], odd_b = B * (d[3] - A2 * d[1]);
    v[3] = even_b + odd_b;
    v[4] = even_b - odd_b;
    v[5] = (A2 * B2) * d[1] - (A2 + B2) * d[3] + d[5];
}

inline void into_places_transposed(const Vector v[IN], Vector d[IN]) {
    const Vector even_a = v[1] + v[2], odd_a = A * (v[1] - v[2]), even_b = v[3] + v[4], odd_b = B * (v[3] - v[4]);
    d[0] = (A2 * B2) * v[0];
    d[1] = (A2 * B2) * v[5] - B2 * odd_a - A2 * odd_b;
    d[2] = -(A2 + B2) * v[0] - B2 * even_a - A2 * even_b;
    d[3] = odd_a + odd_b - (A2 + B2) * v[5];
    d[4] = v[0] + even_a + even_b;
    d[5] = v[5];
}

inline void from_places(const Vector m[IN], Vector y[OUT]) {
    const Vector even_a = m[1] + m[2], odd_a = m[1] - m[2], even_b = m[3] + m[4], odd_b = m[3] - m[4];
    y[0] = m[0] + even_a + even_b;
    y[1] = A * odd_a + B * odd_b;
    y[2] = A2 * even_a + B2 * even_b;
    y[3] = A3 * odd_a + B3 * odd_b + m[5];
}

inline void from_places_transposed(const Vector y[OUT], Vector m[IN]) {
    const Vector even_a = y[0] + A2 * y[2], odd_a = A * (y[1] + A2 * y[3]);
    const Vector even_b = y[0] + B2 * y[2], odd_b = B * (y[1] + B2 * y[3]);
    m[0] = y[0];
    m[1] = even_a + odd_a;
    m[2] = even_a - odd_a;
    m[3] = even_b + odd_b;
    m[4] = even_b - odd_b;
    m[5] = y[3];
}

inline void weight_into_places(const Vector g[TAPS], Vector u[IN]) {
    const Vector even_a = float(SCALE_A) * (g[0] + A2 * g[2]), odd_a = float(SCALE_A * A) * g[1];
    const Vector even_b = float(SCALE_B) * (g[0] + B2 * g[2]), odd_b = float(SCALE_B * B) * g[1];
    u[0] = float(SCALE_0) * g[0];
    u[1] = even_a + odd_a;
    u[2] = even_a - odd_a;
    u[3] = even_b + odd_b;
    u[4] = even_b - odd_b;
    u[5] = g[2];
}

inline void weight_into_places_transposed(const Vector u[IN], Vector g[TAPS]) {
    const Vector even_a = float(SCALE_A) * (u[1] + u[2]), even_b = float(SCALE_B) * (u[3] + u[4]);
    g[0] = float(SCALE_0) * u[0] + even_a + even_b;
    g[1] = float(SCALE_A * A) * (u[1] - u[2]) + float(SCALE_B * B) * (u[3] - u[4]);
    g[2] = A2 * even_a + B2 * even_b + u[5];
}

// ---- transforms of one tile ---------------------------------------------------------------------------------------

struct Tile {
    int64_t image, top, left;  // of the output

    Tile(const Shape& s, int64_t number)
        : image(number / s.tiles()), top(number % s.tiles() / s.across() * OUT), left(number % s.across() * OUT) {}
};

// The 6×6 inputs of one tile, transformed, to places[place][tile][channel].
template <class T>
void transform_input(const Shape& s, const T* maps, const Tile& tile, float* places) {
    const int64_t top = tile.top - s.pad_top, left = tile.left - s.pad_left, step = s.in_step();
    const T* image = maps + tile.image * s.height * s.width * s.channels;
    const bool inside = top >= 0 && left >= 0 && top + IN <= s.height && left + IN <= s.width;
    for (int64_t c = 0; c < s.channels; c += WIDTH) {
        Vector columns[IN][IN];  // [column][place]
        for (int64_t x = 0; x < IN; ++x) {
            Vector d[IN];
            for (int64_t y = 0; y < IN; ++y) {
                const int64_t row = top + y, column = left + x;
                const bool is_there = inside || (row >= 0 && row < s.height && column >= 0 && column < s.width);
                d[y] = is_there ? load(image + (row * s.width + column) * s.channels + c) : Vector{};
            }
            into_places(d, columns[x]);
        }
        for (int64_t y = 0; y < IN; ++y) {
            Vector d[IN], v[IN];
            for (int64_t x = 0; x < IN; ++x) d[x] = columns[x][y];
            into_places(d, v);
            for (int64_t x = 0; x < IN; ++x) store(places + (y * IN + x) * step + c, v[x]);
        }
    }
}

// One tile back, with bias, relu and pool.
template <class T>
void transform_output(const Shape& s, const float* sums, const float* bias, T* out, const Tile& tile) {
    const int64_t shrink = s.pool ? 2 : 1, rows = s.out_height / shrink, columns = s.out_width / shrink;
    const int64_t top = tile.top / shrink, left = tile.left / shrink, size = OUT / shrink, step = s.out_step();
    T* image = out + tile.image * rows * columns * s.filters;
    for (int64_t k = 0; k < s.filters; k += WIDTH) {
        Vector half[IN][OUT];
        for (int64_t x = 0; x < IN; ++x) {
            Vector m[IN];
            for (int64_t y = 0; y < IN; ++y) m[y] = load(sums + (y * IN + x) * step + k);
            from_places(m, half[x]);
        }
        const Vector shift = load(bias + k);
        Vector result[OUT][OUT];
        for (int64_t y = 0; y < OUT; ++y) {
            Vector m[IN];
            for (int64_t x = 0; x < IN; ++x) m[x] = half[x][y];
            from_places(m, result[y]);
            for (int64_t x = 0; x < OUT; ++x) {
                result[y][x] += shift;
                if (s.relu) result[y][x] = where_positive(result[y][x], result[y][x]);
            }
        }
        for (int64_t y = 0; y < size && top + y < rows; ++y)
            for (int64_t x = 0; x < size && left + x < columns; ++x) {
                const Vector value = s.pool ? larger(larger(result[2 * y][2 * x], result[2 * y][2 * x + 1]),
                                                     larger(result[2 * y + 1][2 * x], result[2 * y + 1][2 * x + 1]))
                                            : result[y][x];
                store(image + ((top + y) * columns + left + x) * s.filters + k, value);
            }
    }
}

// The gradient of a tile's output, through the relu, to places[place][tile][filter], and its sum to the bias's.
template <class T>
void transform_output_transposed(const Shape& s, const T* gradient, const T* out, const Tile& tile, float* places,
                                 float* bias) {
    const int64_t step = s.out_step(), image = tile.image * s.out_height * s.out_width;
    const bool inside = tile.top + OUT <= s.out_height && tile.left + OUT <= s.out_width;
    for (int64_t k = 0; k < s.filters; k += WIDTH) {
        Vector columns[OUT][IN], total = {};
        for (int64_t x = 0; x < OUT; ++x) {
            Vector d[OUT];
            for (int64_t y = 0; y < OUT; ++y) {
                const int64_t row = tile.top + y, column = tile.left + x;
                const int64_t at = (image + row * s.out_width + column) * s.filters + k;
                const bool is_there = inside || (row < s.out_height && column < s.out_width);
                d[y] = is_there ? load(gradient + at) : Vector{};
                if (s.relu && is_there) d[y] = where_positive(load(out + at), d[y]);
            }
            total += (d[0] + d[1]) + (d[2] + d[3]);
            from_places_transposed(d, columns[x]);
        }
        store(bias + k, load(bias + k) + total);
        for (int64_t y = 0; y < IN; ++y) {
            Vector d[OUT], m[IN];
            for (int64_t x = 0; x < OUT; ++x) d[x] = columns[x][y];
            from_places_transposed(d, m);
            for (int64_t x = 0; x < IN; ++x) store(places + (y * IN + x) * step + k, m[x]);
        }
    }
}

// The gradient of a tile's inputs back from the places, added to what neighbouring tiles gave.
void transform_input_transposed(const Shape& s, const float* places, const Tile& tile, float* wide_image) {
    const int64_t step = s.in_step();
    float* corner = wide_image + tile.top * s.wide_row() + tile.left * s.channels;
    for (int64_t c = 0; c < s.channels; c += WIDTH) {
        Vector half[IN][IN];
        for (int64_t x = 0; x < IN; ++x) {
            Vector v[IN];
            for (int64_t y = 0; y < IN; ++y) v[y] = load(places + (y * IN + x) * step + c);
            into_places_transposed(v, half[x]);
        }
        for (int64_t y = 0; y < IN; ++y) {
            Vector v[IN], d[IN];
            for (int64_t x = 0; x < IN; ++x) v[x] = half[x][y];
            into_places_transposed(v, d);
            float* row = corner + y * s.wide_row() + c;
            for (int64_t x = 0; x < IN; ++x) store(row + x * s.channels, load(row + x * s.channels) + d[x]);
        }
    }
}

// ---- products -----------------------------------------------------------------------------------------------------

// sums[row][k] (+)= Σ_i left[row · row_step + i · sum_step] · right[i][k], for ROWS rows and COLUMNS vectors of k.
template <bool ADDED, int64_t ROWS, int64_t COLUMNS>
inline void multiply(const float* left, int64_t row_step, int64_t sum_step, const float* right, float* sums,
                     int64_t count, int64_t columns) {
    Vector sum[ROWS][COLUMNS] = {};
    for (int64_t i = 0; i < count; ++i) {
        Vector vector[COLUMNS];
        for (int64_t k = 0; k < COLUMNS; ++k) vector[k] = load(right + i * columns + k * WIDTH);
#pragma GCC unroll 6
        for (int64_t row = 0; row < ROWS; ++row) {
            const float number = left[row * row_step + i * sum_step];
#pragma GCC unroll 4
            for (int64_t k = 0; k < COLUMNS; ++k) sum[row][k] += number * vector[k];
        }
    }
    for (int64_t row = 0; row < ROWS; ++row)
        for (int64_t k = 0; k < COLUMNS; ++k) {
            float* to = sums + row * columns + k * WIDTH;
            store(to, ADDED ? load(to) + sum[row][k] : sum[row][k]);
        }
}

template <bool ADDED, int64_t COLUMNS>
inline void multiply_rows(const float* left, int64_t row_step, int64_t sum_step, const float* right, float* sums,
                          int64_t rows, int64_t count, int64_t columns) {
    int64_t row = 0;
    for (; row + MOST_ROWS <= rows; row += MOST_ROWS)
        multiply<ADDED, MOST_ROWS, COLUMNS>(left + row * row_step, row_step, sum_step, right, sums + row * columns,
                                            count, columns);
    for (; row + 4 <= rows; row += 4)
        multiply<ADDED, 4, COLUMNS>(left + row * row_step, row_step, sum_step, right, sums + row * columns, count,
                                    columns);
    for (; row < rows; row += 2)
        multiply<ADDED, 2, COLUMNS>(left + row * row_step, row_step, sum_step, right, sums + row * columns, count,
                                    columns);
}

template <bool ADDED>
void multiply_all(const float* left, int64_t row_step, int64_t sum_step, const float* right, float* sums, int64_t rows,
                  int64_t count, int64_t columns) {
    int64_t k = 0;
    for (; k + MOST_COLUMNS * WIDTH <= columns; k += MOST_COLUMNS * WIDTH)
        multiply_rows<ADDED, MOST_COLUMNS>(left, row_step, sum_step, right + k, sums + k, rows, count, columns);
    for (; k + 2 * WIDTH <= columns; k += 2 * WIDTH)
        multiply_rows<ADDED, 2>(left, row_step, sum_step, right + k, sums + k, rows, count, columns);
    for (; k < columns; k += WIDTH)
        multiply_rows<ADDED, 1>(left, row_step, sum_step, right + k, sums + k, rows, count, columns);
}

// sums[tile][filter] = Σ inputs[tile][channel] · weights[channel][filter]; one tile more where their number is odd.
inline void multiply_tiles(const float* inputs, const float* weights, float* sums, int64_t tiles, int64_t channels,
                           int64_t filters) {
    multiply_all<false>(inputs, channels, 1, weights, sums, tiles + tiles % 2, channels, filters);
}

// weights[channel][filter] += Σ inputs[tile][channel] · outputs[tile][filter].
inline void add_products(const float* inputs, const float* outputs, float* weights, int64_t tiles, int64_t channels,
                         int64_t filters) {
    multiply_all<true>(inputs, 1, channels, outputs, weights, channels, tiles, filters);
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

    void fetch(int64_t place) const {
        const int64_t lines = (end - begin) / LINE;
        for (int64_t i = lines * place / PLACES; i < lines * (place + 1) / PLACES; ++i)
            __builtin_prefetch(begin + i * LINE);
    }
};

// ---- the three passes ---------------------------------------------------------------------------------------------

template <class T>
void convolve(const T* maps, const float* weights, const float* bias, T* out, float* scratch, const Shape& s) {
    const int64_t all = s.images * s.tiles(), blocks = (all + s.tiles_at_once - 1) / s.tiles_at_once;
    const int64_t shrink = s.pool ? 2 : 1, out_height = s.out_height / shrink, out_width = s.out_width / shrink;
#pragma omp parallel for schedule(static) num_threads(s.threads)
    for (int64_t block = 0; block < blocks; ++block) {
        float *inputs = scratch + omp_get_thread_num() * s.scratch(), *sums = inputs + PLACES * s.in_step();
        const int64_t begin = block * s.tiles_at_once, tiles = least(all - begin, s.tiles_at_once);
        for (int64_t t = 0; t < tiles; ++t)
            transform_input(s, maps, Tile(s, begin + t), inputs + t * s.channels);
        const Tile first(s, begin), last(s, begin + tiles - 1);
        const Tile next(s, least(begin + tiles, all - 1)), end(s, least(begin + 2 * tiles, all) - 1);
        const Ahead of_maps(maps, s.height, s.width * s.channels, next.image, next.top - s.pad_top, end.image,
                            end.top - s.pad_top + IN);
        const Ahead of_out(out, out_height, out_width * s.filters, first.image, first.top / shrink, last.image,
                           (last.top + OUT) / shrink);
        for (int64_t place = 0; place < PLACES; ++place) {
            of_maps.fetch(place);
            of_out.fetch(place);
            multiply_tiles(inputs + place * s.in_step(), weights + place * s.channels * s.filters,
                           sums + place * s.out_step(), tiles, s.channels, s.filters);
        }
        for (int64_t t = 0; t < tiles; ++t)
            transform_output(s, sums + t * s.filters, bias, out, Tile(s, begin + t));
    }
}

// What of the gradient lies on the map, and not on its border.
template <class T>
void write_gradient(const Shape& s, const float* wide_image, T* image) {
    for (int64_t y = 0; y < s.height; ++y) {
        const float* row = wide_image + (y + s.pad_top) * s.wide_row() + s.pad_left * s.channels;
        T* to = image + y * s.width * s.channels;
        for (int64_t i = 0; i < s.width * s.channels; i += WIDTH) store(to + i, load(row + i));
    }
}

// The gradients that one block of tiles gives.
template <class T>
struct Backward {
    const Shape& s;
    const T *maps, *out_gradient, *out;
    const float* turned;  // [place][filter][channel]; null where the maps need no gradient
    T* gradient;
    float *weight, *bias;         // sums of this part of the images; `weight` is null where it needs no gradient
    float *inputs, *outputs, *wide_images;  // of this thread

    void block(int64_t first_image, int64_t begin, int64_t tiles) const {
        const int64_t in_step = s.in_step(), out_step = s.out_step(), size = s.channels * s.filters;
        for (int64_t t = 0; t < tiles; ++t)
            transform_output_transposed(s, out_gradient, out, Tile(s, begin + t), outputs + t * s.filters, bias);
        for (int64_t t = 0; weight && t < tiles; ++t)
            transform_input(s, maps, Tile(s, begin + t), inputs + t * s.channels);
        for (int64_t place = 0; weight && place < PLACES; ++place)
            add_products(inputs + place * in_step, outputs + place * out_step, weight + place * size, tiles,
                         s.channels, s.filters);
        for (int64_t place = 0; turned && place < PLACES; ++place)
            multiply_tiles(outputs + place * out_step, turned + place * size, inputs + place * in_step, tiles,
                           s.filters, s.channels);
        for (int64_t t = 0; turned && t < tiles; ++t) {
            const Tile tile(s, begin + t);
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
template <class T>
void convolve_gradient(const T* maps, const T* out_gradient, const T* out, const float* turned, T* gradient,
                       float* weights, float* biases, float* scratch, const Shape& s) {
    const int64_t groups = (s.images + s.together() - 1) / s.together(), size = PLACES * s.channels * s.filters;
#pragma omp parallel for schedule(static) num_threads(s.threads)
    for (int64_t part = 0; part < s.parts; ++part) {
        float *inputs = scratch + omp_get_thread_num() * s.scratch_backward(), *outputs = inputs + PLACES * s.in_step();
        float *weight = weights ? weights + part * size : nullptr, *bias = biases + part * s.filters;
        if (weight) std::memset(weight, 0, size_t(size) * sizeof(float));
        std::memset(bias, 0, size_t(s.filters) * sizeof(float));
        const Backward<T> backward{s, maps, out_gradient, out, turned, gradient, weight, bias, inputs, outputs,
                                   inputs + s.scratch()};
        for (int64_t group = groups * part / s.parts; group < groups * (part + 1) / s.parts; ++group) {
            const int64_t first = group * s.together();
            backward.images(first, least(s.together(), s.images - first));
        }
    }
}

}  // namespace

// ---- what Python calls --------------------------------------------------------------------------------------------

#define FOR_NUMBERS(T, NAME)                                                                                        \
    void convolve_##NAME(const T* maps, const float* weights, const float* bias, T* out, float* scratch,            \
                         const Shape* shape) {                                                                      \
        convolve(maps, weights, bias, out, scratch, *shape);                                                        \
    }                                                                                                               \
    void convolve_gradient_##NAME(const T* maps, const T* out_gradient, const T* out, const float* turned,          \
                                  T* gradient, float* weights, float* biases, float* scratch, const Shape* shape) { \
        convolve_gradient(maps, out_gradient, out, turned, gradient, weights, biases, scratch, *shape);             \
    }

extern "C" {

FOR_NUMBERS(float, float32)
FOR_NUMBERS(bfloat16, bfloat16)

// Floats that all threads together need, forward and backward.
void scratch_float32(int64_t* forward_backward, const Shape* shape) {
    forward_backward[0] = shape->threads * shape->scratch();
    forward_backward[1] = shape->threads * shape->scratch_backward();
}

// weight (3, 3, a, b) to places (36, a, b), for a · b = count.
void transform_weight_float32(const float* weight, float* places, int64_t count, int64_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < count; i += WIDTH) {
        Vector half[TAPS][IN];
        for (int64_t x = 0; x < TAPS; ++x) {
            Vector g[TAPS];
            for (int64_t y = 0; y < TAPS; ++y) g[y] = load(weight + (y * TAPS + x) * count + i);
            weight_into_places(g, half[x]);
        }
        for (int64_t y = 0; y < IN; ++y) {
            Vector g[TAPS], u[IN];
            for (int64_t x = 0; x < TAPS; ++x) g[x] = half[x][y];
            weight_into_places(g, u);
            for (int64_t x = 0; x < IN; ++x) store(places + (y * IN + x) * count + i, u[x]);
        }
    }
}

// The parts (parts, 36, a, b) of the gradient, summed in order, to the gradient (3, 3, a, b).
void sum_weight_gradient_float32(const float* parts, float* gradient, int64_t count, int64_t how_many,
                                 int64_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < count; i += WIDTH) {
        Vector half[IN][TAPS];
        for (int64_t x = 0; x < IN; ++x) {
            Vector u[IN];
            for (int64_t y = 0; y < IN; ++y) {
                const float* from = parts + (y * IN + x) * count + i;
                u[y] = load(from);
                for (int64_t part = 1; part < how_many; ++part) u[y] += load(from + part * PLACES * count);
            }
            weight_into_places_transposed(u, half[x]);
        }
        for (int64_t y = 0; y < TAPS; ++y) {
            Vector u[IN], g[TAPS];
            for (int64_t x = 0; x < IN; ++x) u[x] = half[x][y];
            weight_into_places_transposed(u, g);
            for (int64_t x = 0; x < TAPS; ++x) store(gradient + (y * TAPS + x) * count + i, g[x]);
        }
    }
}

}  // extern "C"

// Weights of 3×3 convolutions at Winograd's places, in panels as the products take them, and their gradients back. Needs
// vectors.h, places.h and turn.h.

namespace {

// A few rows of a register each to columns, so many numbers apart.
inline void turn(const float rows[SQUARE][WIDTH], float* to, int64_t step) {
    if constexpr (WIDTH % SQUARE == 0) {
        for (int64_t c = 0; c < WIDTH; c += SQUARE) turn_square(rows[0] + c, WIDTH, to + c * step, step);
    } else {
        for (int64_t c = 0; c < WIDTH; ++c)
            for (int64_t r = 0; r < SQUARE; ++r) to[c * step + r] = rows[r][c];
    }
}

// Calls work(offset in rows, offset in panels) for each vector of a matrix (rows, columns).
template <class Work>
inline void each_vector(int64_t row, int64_t rows, int64_t columns, const Work& work) {
    in_panels(columns, [&](int64_t k, auto vectors) {
        for (int64_t v = 0; v < vectors * WIDTH; v += WIDTH)
            work(row * columns + k + v, k * rows + row * vectors * WIDTH + v);
    });
}

// A vector of weights at all places: [row of places][column].
template <class Kind>
inline void weight_places(const float* weight, int64_t count, Vector places[Kind::SIDE][Kind::SIDE]) {
    constexpr int64_t SIDE = Kind::SIDE;
    Vector half[TAPS][SIDE];
    for (int64_t x = 0; x < TAPS; ++x) {
        Vector g[TAPS];
        for (int64_t y = 0; y < TAPS; ++y) g[y] = load(weight + (y * TAPS + x) * count);
        Kind::weight_into_places(g, half[x]);
    }
    for (int64_t y = 0; y < SIDE; ++y) {
        Vector g[TAPS];
        for (int64_t x = 0; x < TAPS; ++x) g[x] = half[x][y];
        Kind::weight_into_places(g, places[y]);
    }
}

// weight (3, 3, rows, columns) to places (PLACES, rows · columns in panels).
template <class Kind>
void transform_weight(const float* weight, float* places, int64_t rows, int64_t columns, int64_t threads) {
    constexpr int64_t SIDE = Kind::SIDE;
    const int64_t count = rows * columns;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t row = 0; row < rows; ++row)
        each_vector(row, rows, columns, [&](int64_t from, int64_t to) {
            Vector u[SIDE][SIDE];
            weight_places<Kind>(weight + from, count, u);
            for (int64_t place = 0; place < Kind::PLACES; ++place)
                store(places + place * count + to, u[place / SIDE][place % SIDE]);
        });
}

#ifdef HAS_PAIRS
// The same in pairs of rows.
template <class Kind>
void transform_weight(const float* weight, bfloat16* places, int64_t rows, int64_t columns, int64_t threads) {
    constexpr int64_t SIDE = Kind::SIDE;
    const int64_t count = rows * columns;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t row = 0; row < rows; row += 2)
        in_panels(columns, [&](int64_t k, auto vectors) {
            for (int64_t v = 0; v < vectors * WIDTH; v += WIDTH) {
                Vector upper[SIDE][SIDE], lower[SIDE][SIDE];
                weight_places<Kind>(weight + row * columns + k + v, count, upper);
                weight_places<Kind>(weight + (row + 1) * columns + k + v, count, lower);
                bfloat16* to = places + k * rows + row * vectors * WIDTH + 2 * v;
                for (int64_t place = 0; place < Kind::PLACES; ++place) {
                    const __m512 first(upper[place / SIDE][place % SIDE]), second(lower[place / SIDE][place % SIDE]);
                    store_pairs(reinterpret_cast<Pair*>(to + place * count), (__m256i)_mm512_cvtneps_pbh(first),
                                (__m256i)_mm512_cvtneps_pbh(second));
                }
            }
        });
}
#endif

// The parts (parts, PLACES, rows · columns in panels) of the gradient, summed in order in the first one, to the gradient
// (columns, 3, 3, rows), as weights lie in memory.
template <class Kind>
void sum_weight_gradient(float* parts, float* gradient, int64_t rows, int64_t columns, int64_t how_many,
                         int64_t threads) {
    constexpr int64_t SIDE = Kind::SIDE, ALL_TAPS = TAPS * TAPS;
    const int64_t count = rows * columns, size = Kind::PLACES * count;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < size; i += WIDTH) {
        Vector sum = load(parts + i);
        for (int64_t part = 1; part < how_many; ++part) sum += load(parts + part * size + i);
        store(parts + i, sum);
    }
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t block = 0; block < rows; block += SQUARE)
        in_panels(columns, [&](int64_t k, auto vectors) {
            for (int64_t v = 0; v < vectors * WIDTH; v += WIDTH) {
                float taps[ALL_TAPS][SQUARE][WIDTH];
                for (int64_t r = 0; r < SQUARE; ++r) {
                    const float* from = parts + k * rows + (block + r) * vectors * WIDTH + v;
                    Vector half[SIDE][TAPS];
                    for (int64_t x = 0; x < SIDE; ++x) {
                        Vector u[SIDE];
                        for (int64_t y = 0; y < SIDE; ++y) u[y] = load(from + (y * SIDE + x) * count);
                        Kind::weight_into_places_transposed(u, half[x]);
                    }
                    for (int64_t y = 0; y < TAPS; ++y) {
                        Vector u[SIDE], g[TAPS];
                        for (int64_t x = 0; x < SIDE; ++x) u[x] = half[x][y];
                        Kind::weight_into_places_transposed(u, g);
                        for (int64_t x = 0; x < TAPS; ++x) store(taps[y * TAPS + x][r], g[x]);
                    }
                }
                for (int64_t tap = 0; tap < ALL_TAPS; ++tap) {
                    float* to = gradient + ((k + v) * ALL_TAPS + tap) * rows + block;
                    turn(taps[tap], to, ALL_TAPS * rows);
                }
            }
        });
}

}  // namespace

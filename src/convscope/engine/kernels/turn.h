// Rows and columns of many small matrices exchanged.

#include <cstdint>
#ifdef __AVX__
#include <immintrin.h>
#endif

namespace {

// A square of numbers with its rows and columns exchanged; rows lie `in_step` and `out_step` numbers apart.
constexpr int SQUARE = 8;

template <class T>
inline void turn_square(const T* in, std::int64_t in_step, T* out, std::int64_t out_step) {
    for (int c = 0; c < SQUARE; c++)
        for (int r = 0; r < SQUARE; r++) out[c * out_step + r] = in[r * in_step + c];
}
#ifdef __AVX__
inline void turn_square(const float* in, std::int64_t in_step, float* out, std::int64_t out_step) {
    __m256 row[SQUARE], pair[SQUARE], four[SQUARE];
    for (int r = 0; r < 4; r++) {  // halves of rows r and r + 4 side by side
        const float *upper = in + r * in_step, *lower = in + (r + 4) * in_step;
        row[r] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(upper)), _mm_loadu_ps(lower), 1);
        row[r + 4] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(upper + 4)), _mm_loadu_ps(lower + 4), 1);
    }
    for (int r = 0; r < 8; r += 2) {
        pair[r] = _mm256_unpacklo_ps(row[r], row[r + 1]);
        pair[r + 1] = _mm256_unpackhi_ps(row[r], row[r + 1]);
    }
    for (int r = 0; r < 8; r += 4) {
        four[r] = _mm256_shuffle_ps(pair[r], pair[r + 2], 0x44);
        four[r + 1] = _mm256_shuffle_ps(pair[r], pair[r + 2], 0xEE);
        four[r + 2] = _mm256_shuffle_ps(pair[r + 1], pair[r + 3], 0x44);
        four[r + 3] = _mm256_shuffle_ps(pair[r + 1], pair[r + 3], 0xEE);
    }
    for (int c = 0; c < SQUARE; c++) _mm256_storeu_ps(out + c * out_step, four[c]);
}
#endif

// One matrix (rows, columns) to (columns, rows).
template <class T>
inline void turn_one(const T* from, T* to, std::int64_t rows, std::int64_t columns) {
    const std::int64_t whole_rows = rows / SQUARE * SQUARE, whole_columns = columns / SQUARE * SQUARE;
    for (std::int64_t c = 0; c < whole_columns; c += SQUARE)
        for (std::int64_t r = 0; r < whole_rows; r += SQUARE)
            turn_square(from + r * columns + c, columns, to + c * rows + r, rows);
    for (std::int64_t c = 0; c < columns; c++)
        for (std::int64_t r = c < whole_columns ? whole_rows : 0; r < rows; r++) to[c * rows + r] = from[r * columns + c];
}

}  // namespace

// What the C++ files here share: rows of floats the width of a register, maps in float or bfloat16 (the upper half of a
// float's bits), and the product of a few rows by a few columns that all larger products are made of.

#include <cstdint>
#include <cstring>
#include <type_traits>
#ifdef __AVX2__
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
constexpr int64_t MOST_ROWS = 6;  // multiplied at a time; then 4, 2 and 1
constexpr int64_t LINE = 64;      // bytes of the cache that come together

typedef float Vector __attribute__((vector_size(WIDTH * 4), aligned(4), may_alias));
typedef uint32_t Words __attribute__((vector_size(WIDTH * 4), aligned(4), may_alias));
typedef uint8_t Bytes __attribute__((vector_size(WIDTH), aligned(1), may_alias));
typedef bfloat16 Halves __attribute__((vector_size(WIDTH * 2), aligned(2), may_alias));

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
inline Words load(const uint8_t* from) {  // some compilers take these two apart into single numbers
#if defined(__AVX512F__)
    return Words(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)from)));
#elif defined(__AVX2__)
    return Words(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)from)));
#else
    return __builtin_convertvector(*reinterpret_cast<const Bytes*>(from), Words);
#endif
}
inline void store(uint8_t* to, Words value) {  // at most 255
#if defined(__AVX512F__)
    _mm_storeu_si128((__m128i*)to, _mm512_cvtepi32_epi8((__m512i)value));
#elif defined(__AVX2__)
    const __m256i words = (__m256i)value;
    const __m128i halves = _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storel_epi64((__m128i*)to, _mm_packus_epi16(halves, halves));
#else
    *reinterpret_cast<Bytes*>(to) = __builtin_convertvector(value, Bytes);
#endif
}
inline Vector where_positive(Vector of, Vector value) { return of <= 0.0f ? Vector{} : value; }  // keeps no-numbers
inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

// ---- products -----------------------------------------------------------------------------------------------------

inline void add_product(Vector& sum, float number, Vector vector) { sum += number * vector; }

#if defined(__AVX512BF16__) && defined(__AVX512BW__)
#define HAS_PAIRS

// Two bfloat16 numbers whose products with two others are summed at once, exactly but for the last rounding.
struct Pair {
    bfloat16 first, second;
};
inline __m512bh load(const Pair* from) { return (__m512bh)_mm512_loadu_si512(from); }
inline void add_product(Vector& sum, Pair number, __m512bh vector) {
    int32_t both;
    std::memcpy(&both, &number, sizeof both);
    // Written out, as some compilers keep copies of the sums in memory otherwise.
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(_mm512_set1_epi32(both)), "v"(vector));
}
inline void add_product(__m512& sum, const void* pair, __m512bh vector) {
    asm("vdpbf16ps %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(vector), "m"(*static_cast<const int32_t*>(pair)));
}
// Sixteen numbers of one row, each beside that of another.
inline void store_pairs(Pair* to, __m256i first, __m256i second) {
    const __m512i low = _mm512_cvtepu16_epi32(first), high = _mm512_slli_epi32(_mm512_cvtepu16_epi32(second), 16);
    _mm512_storeu_si512(to, _mm512_or_si512(low, high));
}
#endif

// sums[row][k] (+)= Σ_i left[row · row_step + i · sum_step] · right[i · right_step + k], for ROWS rows and COLUMNS
// vectors of k: two vectors and six numbers are loaded for twelve products.
template <bool ADDED, int64_t ROWS, int64_t COLUMNS, class Number>
inline void multiply(const Number* left, int64_t row_step, int64_t sum_step, const Number* right, int64_t right_step,
                     float* sums, int64_t sums_step, int64_t count) {
    Vector sum[ROWS][COLUMNS] = {};
    for (int64_t i = 0; i < count; ++i) {
        decltype(load(right)) vector[COLUMNS];
#pragma GCC unroll 4
        for (int64_t k = 0; k < COLUMNS; ++k) vector[k] = load(right + i * right_step + k * WIDTH);
#pragma GCC unroll 6
        for (int64_t row = 0; row < ROWS; ++row) {
            const Number number = left[row * row_step + i * sum_step];
#pragma GCC unroll 4
            for (int64_t k = 0; k < COLUMNS; ++k) add_product(sum[row][k], number, vector[k]);
        }
    }
#pragma GCC unroll 6
    for (int64_t row = 0; row < ROWS; ++row)
#pragma GCC unroll 4
        for (int64_t k = 0; k < COLUMNS; ++k) {
            float* to = sums + row * sums_step + k * WIDTH;
            store(to, ADDED ? load(to) + sum[row][k] : sum[row][k]);
        }
}

// Inside of others some compilers keep the sums of pairs in memory.
template <bool ADDED, int64_t ROWS, int64_t COLUMNS, class Number>
[[gnu::noinline]] void multiply_apart(const Number* left, int64_t row_step, int64_t sum_step, const Number* right,
                                      int64_t right_step, float* sums, int64_t sums_step, int64_t count) {
    multiply<ADDED, ROWS, COLUMNS>(left, row_step, sum_step, right, right_step, sums, sums_step, count);
}

// The same for any number of rows.
template <bool ADDED, int64_t COLUMNS, class Number>
inline void multiply_rows(const Number* left, int64_t row_step, int64_t sum_step, const Number* right,
                          int64_t right_step, float* sums, int64_t sums_step, int64_t rows, int64_t count) {
    int64_t row = 0;
    const auto some = [&](auto how_many) {
        constexpr int64_t ROWS = decltype(how_many)::value;
        const int64_t end = ROWS == MOST_ROWS && rows % ROWS == 2 ? rows - 8 : rows;  // 4 and 4 are faster than 6 and 2
        constexpr auto some_rows = std::is_same_v<Number, float> ? multiply<ADDED, ROWS, COLUMNS, Number>
                                                                 : multiply_apart<ADDED, ROWS, COLUMNS, Number>;
        for (; row + ROWS <= end; row += ROWS)
            some_rows(left + row * row_step, row_step, sum_step, right, right_step, sums + row * sums_step, sums_step,
                      count);
    };
    some(std::integral_constant<int64_t, MOST_ROWS>{});
    some(std::integral_constant<int64_t, 4>{});
    some(std::integral_constant<int64_t, 2>{});
    some(std::integral_constant<int64_t, 1>{});
}

// Calls work(first column, how many vectors) for as many columns at a time as registers can take; columns are a
// multiple of 16. What cannot be left over is not compiled.
template <class Work>
inline void in_panels(int64_t columns, const Work& work) {
    int64_t k = 0;
    for (; k + MOST_COLUMNS * WIDTH <= columns; k += MOST_COLUMNS * WIDTH)
        work(k, std::integral_constant<int64_t, MOST_COLUMNS>{});
    if constexpr (MOST_COLUMNS > 2 && 2 * WIDTH >= 16)
        for (; k + 2 * WIDTH <= columns; k += 2 * WIDTH) work(k, std::integral_constant<int64_t, 2>{});
    if constexpr (WIDTH >= 16)
        for (; k < columns; k += WIDTH) work(k, std::integral_constant<int64_t, 1>{});
}

}  // namespace

// Products of tiles of bfloat16 numbers, 16×32 by 32×16, added to 16×16 floats: by matrix instructions (Intel's AMX: eight
// registers of a tile each) where there are some, else with sixteen registers of sums and products in pairs (AVX512-BF16).
// Nothing is here where the processor or the compiler has neither.

#if defined(__AVX512BF16__) && defined(__AVX512BW__)
#define HAS_TILES
#if defined(__AMX_TILE__) && defined(__AMX_BF16__) && defined(__linux__)
#define HAS_MATRIX_INSTRUCTIONS
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <immintrin.h>

#include <cstdint>

namespace {

using bfloat16 = uint16_t;
using std::int64_t;

constexpr int64_t SIDE = 16, DEEP = 32;     // rows and columns of a product, and how many numbers it sums
constexpr int64_t PACKED = DEEP * SIDE;     // numbers in a tile: of the right matrix two rows' lie in pairs

// Where a product's numbers lie: sums of ROWS × COLUMNS tiles, `left` rows and sums' rows so many bytes apart, the next 16
// rows and the next tile of the right matrix so many numbers on.
struct Places {
    int64_t left_row_bytes, next_left, next_right, sums_row_bytes, next_sums_row, next_sums_column;
};

#ifdef HAS_MATRIX_INSTRUCTIONS

// Linux saves these registers for those only who asked.
inline bool may_use_tiles() {
    constexpr long ASK = 0x1023, TILE_DATA = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return syscall(SYS_arch_prctl, ASK, TILE_DATA) == 0;
}

// The registers set up for full tiles while this lives, and then as they were: libraries beside us use them too.
class Tiles {
    struct alignas(64) Setup {
        uint8_t palette = 0, start_row = 0, reserved[14] = {};
        uint16_t row_bytes[16] = {};
        uint8_t rows[16] = {};
    };
    Setup before;

public:
    Tiles() {
        _tile_storeconfig(&before);
        Setup ours;
        ours.palette = 1;
        for (int i = 0; i < 8; ++i) ours.row_bytes[i] = 64, ours.rows[i] = SIDE;
        _tile_loadconfig(&ours);
    }
    ~Tiles() {
        if (before.palette)
            _tile_loadconfig(&before);
        else
            _tile_release();
    }
    Tiles(const Tiles&) = delete;
};

// The compiler does not know that tile instructions read and write memory.
inline void in_memory() { asm volatile("" ::: "memory"); }

constexpr int64_t MOST_TILES = 2;  // in a row or column that are summed together

// Begins, adds to and ends ROWS × COLUMNS (1 or 2) tiles of sums, in registers 0 to 3; 4 to 7 hold what is multiplied.
template <int ROWS, int COLUMNS>
struct Sums {
    const Places& p;

    explicit Sums(const Places& places) : p(places) {}

    void zero() const {
        in_memory();
        _tile_zero(0);
        if constexpr (COLUMNS > 1) _tile_zero(1);
        if constexpr (ROWS > 1) _tile_zero(2);
        if constexpr (ROWS > 1 && COLUMNS > 1) _tile_zero(3);
    }
    void load(const float* from) const {
        in_memory();
        _tile_loadd(0, from, p.sums_row_bytes);
        if constexpr (COLUMNS > 1) _tile_loadd(1, from + p.next_sums_column, p.sums_row_bytes);
        if constexpr (ROWS > 1) _tile_loadd(2, from + p.next_sums_row, p.sums_row_bytes);
        if constexpr (ROWS > 1 && COLUMNS > 1)
            _tile_loadd(3, from + p.next_sums_row + p.next_sums_column, p.sums_row_bytes);
    }
    void add(const bfloat16* left, const bfloat16* right) const {
        _tile_loadd(4, left, p.left_row_bytes);
        _tile_loadd(6, right, 64);
        _tile_dpbf16ps(0, 4, 6);
        if constexpr (COLUMNS > 1) {
            _tile_loadd(7, right + p.next_right, 64);
            _tile_dpbf16ps(1, 4, 7);
        }
        if constexpr (ROWS > 1) {
            _tile_loadd(5, left + p.next_left, p.left_row_bytes);
            _tile_dpbf16ps(2, 5, 6);
        }
        if constexpr (ROWS > 1 && COLUMNS > 1) _tile_dpbf16ps(3, 5, 7);
    }
    void store(float* to) const {
        _tile_stored(0, to, p.sums_row_bytes);
        if constexpr (COLUMNS > 1) _tile_stored(1, to + p.next_sums_column, p.sums_row_bytes);
        if constexpr (ROWS > 1) _tile_stored(2, to + p.next_sums_row, p.sums_row_bytes);
        if constexpr (ROWS > 1 && COLUMNS > 1)
            _tile_stored(3, to + p.next_sums_row + p.next_sums_column, p.sums_row_bytes);
        in_memory();
    }
};

#else

inline bool may_use_tiles() { return true; }
struct Tiles {
    Tiles() {}  // nothing to set up
};

constexpr int64_t MOST_TILES = 1;  // in a row or column that are summed together

// As above, for one tile, whose rows are in registers.
template <int ROWS, int COLUMNS>
struct Sums {
    static_assert(ROWS == 1 && COLUMNS == 1, "more have no room in the registers");
    const Places& p;
    __m512 rows[SIDE];

    explicit Sums(const Places& places) : p(places) {}

    void zero() {
#pragma GCC unroll 16
        for (int r = 0; r < SIDE; ++r) rows[r] = _mm512_setzero_ps();
    }
    void load(const float* from) {
#pragma GCC unroll 16
        for (int r = 0; r < SIDE; ++r) rows[r] = _mm512_loadu_ps(row(from, r));
    }
    void add(const bfloat16* left, const bfloat16* right) {
#pragma GCC unroll 16
        for (int k = 0; k < SIDE; ++k) {
            const __m512bh pairs = (__m512bh)_mm512_loadu_si512(right + k * DEEP);
#pragma GCC unroll 16
            for (int r = 0; r < SIDE; ++r)
                add_product(rows[r], reinterpret_cast<const char*>(left) + r * p.left_row_bytes + 4 * k, pairs);
        }
    }
    void store(float* to) const {
#pragma GCC unroll 16
        for (int r = 0; r < SIDE; ++r) _mm512_storeu_ps(const_cast<float*>(row(to, r)), rows[r]);
    }

private:
    const float* row(const float* first, int64_t r) const {
        return reinterpret_cast<const float*>(reinterpret_cast<const char*>(first) + r * p.sums_row_bytes);
    }
};

#endif

// Calls work(first, how many: 1 or 2) for tiles in pairs, as far as pairs are summed together, and the others alone.
template <class Work>
inline void in_pairs(int64_t tiles, const Work& work) {
    int64_t i = 0;
    if constexpr (MOST_TILES == 2)
        for (; i + 2 <= tiles; i += 2) work(i, std::integral_constant<int, 2>{});
    for (; i < tiles; ++i) work(i, std::integral_constant<int, 1>{});
}

// ---- numbers in pairs -------------------------------------------------------------------------------------------------

// Sixteen numbers of one row, each beside that of another: as the right matrix of a product has them.
inline __m512i paired(__m256i upper, __m256i lower) {
    return _mm512_or_si512(_mm512_cvtepu16_epi32(upper), _mm512_slli_epi32(_mm512_cvtepu16_epi32(lower), 16));
}
inline __m256i halves(const bfloat16* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }
inline __m256i halves(const float* from) { return (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(from)); }

// Rows and columns of 16×16 double words exchanged.
inline void turn_words(__m512i rows[16]) {
    __m512i four[16], sixteen[16];
    for (int i = 0; i < 16; i += 4) {
        const __m512i a = _mm512_unpacklo_epi32(rows[i], rows[i + 1]), b = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
        const __m512i c = _mm512_unpacklo_epi32(rows[i + 2], rows[i + 3]);
        const __m512i d = _mm512_unpackhi_epi32(rows[i + 2], rows[i + 3]);
        four[i] = _mm512_unpacklo_epi64(a, c), four[i + 1] = _mm512_unpackhi_epi64(a, c);
        four[i + 2] = _mm512_unpacklo_epi64(b, d), four[i + 3] = _mm512_unpackhi_epi64(b, d);
    }
    for (int i = 0; i < 4; ++i) {  // four[i + 4 g]: column i of every quarter, of rows 4 g to 4 g + 3
        const __m512i a = _mm512_shuffle_i32x4(four[i], four[i + 4], 0x88);
        const __m512i b = _mm512_shuffle_i32x4(four[i], four[i + 4], 0xDD);
        const __m512i c = _mm512_shuffle_i32x4(four[i + 8], four[i + 12], 0x88);
        const __m512i d = _mm512_shuffle_i32x4(four[i + 8], four[i + 12], 0xDD);
        sixteen[i] = _mm512_shuffle_i32x4(a, c, 0x88), sixteen[i + 8] = _mm512_shuffle_i32x4(a, c, 0xDD);
        sixteen[i + 4] = _mm512_shuffle_i32x4(b, d, 0x88), sixteen[i + 12] = _mm512_shuffle_i32x4(b, d, 0xDD);
    }
    for (int i = 0; i < 16; ++i) rows[i] = sixteen[i];
}

// A block [32 rows][16 columns] turned: to[column · out_step + row].
inline void turn_block(const bfloat16* from, int64_t in_step, bfloat16* to, int64_t out_step) {
    __m512i rows[16];
    for (int i = 0; i < 16; ++i) rows[i] = paired(halves(from + 2 * i * in_step), halves(from + (2 * i + 1) * in_step));
    turn_words(rows);
    for (int i = 0; i < 16; ++i) _mm512_storeu_si512(to + i * out_step, rows[i]);
}

}  // namespace

#endif

extern "C" {

// Whether this processor and system let us; it must be asked before anything else of a library is called.
int permitted() {
#ifdef HAS_TILES
    return may_use_tiles();
#else
    return 0;
#endif
}

int has_matrix_instructions() {
#ifdef HAS_MATRIX_INSTRUCTIONS
    return 1;
#else
    return 0;
#endif
}

}  // extern "C"

#include "sha256-pair.h"

#include <algorithm>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace imgfs {

namespace {

constexpr size_t kBlock = 64;

void updateEach(SHA256_CTX& first, SHA256_CTX& second, const uint8_t* data, size_t length) {
  SHA256_Update(&first, data, length);
  SHA256_Update(&second, data, length);
}

#if defined(__x86_64__)

// FIPS 180-4, 4.2.2.
alignas(16) constexpr uint32_t kRounds[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

#define IMGFS_SHA __attribute__((target("sha,sse4.1,ssse3")))

bool hasShaInstructions() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  // Leaf 7, EBX bit 29; leaf 1, ECX bits 9 and 19 for SSSE3 and SSE4.1.
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (b >> 29 & 1) == 0) return false;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c >> 9 & 1) != 0 && (c >> 19 & 1) != 0;
}

// The state in the order that the instructions want: A B E F and C D G H, A highest.
struct Lanes {
  __m128i abef, cdgh;
};

IMGFS_SHA inline Lanes load(const SHA256_CTX& context) {
  const auto* words = reinterpret_cast<const __m128i*>(context.h);
  const __m128i badc = _mm_shuffle_epi32(_mm_loadu_si128(words), 0xb1);
  const __m128i hgfe = _mm_shuffle_epi32(_mm_loadu_si128(words + 1), 0x1b);
  return {_mm_alignr_epi8(badc, hgfe, 8), _mm_blend_epi16(hgfe, badc, 0xf0)};
}

IMGFS_SHA inline void store(const Lanes& lanes, SHA256_CTX& context) {
  auto* words = reinterpret_cast<__m128i*>(context.h);
  const __m128i feba = _mm_shuffle_epi32(lanes.abef, 0x1b);
  const __m128i dchg = _mm_shuffle_epi32(lanes.cdgh, 0xb1);
  _mm_storeu_si128(words, _mm_blend_epi16(feba, dchg, 0xf0));
  _mm_storeu_si128(words + 1, _mm_alignr_epi8(dchg, feba, 8));
}

// Four rounds.
IMGFS_SHA inline void rounds(Lanes& lanes, __m128i words, int at) {
  const __m128i sum = _mm_add_epi32(words, _mm_load_si128(reinterpret_cast<const __m128i*>(kRounds + at)));
  lanes.cdgh = _mm_sha256rnds2_epu32(lanes.cdgh, lanes.abef, sum);
  lanes.abef = _mm_sha256rnds2_epu32(lanes.abef, lanes.cdgh, _mm_shuffle_epi32(sum, 0x0e));
}

// Four words of the message schedule from the sixteen before them, oldest first.
IMGFS_SHA inline __m128i schedule(__m128i w0, __m128i w1, __m128i w2, __m128i w3) {
  const __m128i sum = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8(w3, w2, 4));
  return _mm_sha256msg2_epu32(sum, w3);
}

// `blocks` blocks of each of two streams.
IMGFS_SHA void compressBoth(SHA256_CTX& first, const uint8_t* firstData, SHA256_CTX& second, const uint8_t* secondData,
                            size_t blocks) {
  const __m128i mirror = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
  Lanes a = load(first), b = load(second);
  for (; blocks > 0; --blocks, firstData += kBlock, secondData += kBlock) {
    const Lanes aBefore = a, bBefore = b;
    __m128i aw[4], bw[4];
    for (int part = 0; part < 4; ++part) {
      aw[part] = _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(firstData) + part), mirror);
      bw[part] = _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(secondData) + part), mirror);
    }
#pragma GCC unroll 16
    for (int part = 0; part < 16; ++part) {
      rounds(a, aw[part & 3], part * 4);
      rounds(b, bw[part & 3], part * 4);
      if (part >= 12) continue;
      aw[part & 3] = schedule(aw[part & 3], aw[(part + 1) & 3], aw[(part + 2) & 3], aw[(part + 3) & 3]);
      bw[part & 3] = schedule(bw[part & 3], bw[(part + 1) & 3], bw[(part + 2) & 3], bw[(part + 3) & 3]);
    }
    a = {_mm_add_epi32(a.abef, aBefore.abef), _mm_add_epi32(a.cdgh, aBefore.cdgh)};
    b = {_mm_add_epi32(b.abef, bBefore.abef), _mm_add_epi32(b.cdgh, bBefore.cdgh)};
  }
  store(a, first);
  store(b, second);
}

// Bytes that are missing to a whole block.
size_t toBlock(const SHA256_CTX& context) { return (kBlock - context.num) % kBlock; }

void countBits(SHA256_CTX& context, size_t bytes) {
  const uint64_t bits = (static_cast<uint64_t>(context.Nh) << 32 | context.Nl) + static_cast<uint64_t>(bytes) * 8;
  context.Nl = static_cast<SHA_LONG>(bits);
  context.Nh = static_cast<SHA_LONG>(bits >> 32);
}

#endif

}  // namespace

void updateBoth(SHA256_CTX& first, SHA256_CTX& second, const uint8_t* data, size_t length) {
#if defined(__x86_64__)
  static const bool isFast = hasShaInstructions();
  const size_t skipFirst = toBlock(first), skipSecond = toBlock(second), skip = std::max(skipFirst, skipSecond);
  const size_t blocks = length > skip ? (length - skip) / kBlock : 0;
  if (!isFast || blocks == 0) return updateEach(first, second, data, length);
  SHA256_Update(&first, data, skipFirst);
  SHA256_Update(&second, data, skipSecond);
  const uint8_t* const firstData = data + skipFirst;
  const uint8_t* const secondData = data + skipSecond;
  compressBoth(first, firstData, second, secondData, blocks);
  const size_t done = blocks * kBlock;
  countBits(first, done);
  countBits(second, done);
  SHA256_Update(&first, firstData + done, length - skipFirst - done);
  SHA256_Update(&second, secondData + done, length - skipSecond - done);
#else
  updateEach(first, second, data, length);
#endif
}

}  // namespace imgfs

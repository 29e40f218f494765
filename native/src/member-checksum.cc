#include "member-checksum.h"

namespace imgfs {

namespace {

// Polynomials over GF(2) modulo that of CRC-32, mirrored: the highest bit is the constant term.
constexpr uint32_t kModulus = 0xedb88320;
constexpr uint32_t kOne = 1u << 31;
// x to the 8: what one byte more means.
constexpr uint32_t kByte = kOne >> 8;

uint32_t multiply(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (uint32_t term = kOne; term != 0; term >>= 1) {
    if (a & term) product ^= b;
    b = b & 1 ? b >> 1 ^ kModulus : b >> 1;
  }
  return product;
}

}  // namespace

uint32_t combineCrc(uint32_t before, uint32_t after, uint64_t length) {
  // The sum of no bytes; a sum that happens to be zero adds nothing either.
  if (before == 0) return after;
  uint32_t factor = kOne;
  for (uint32_t square = kByte; length != 0; length >>= 1) {
    if (length & 1) factor = multiply(factor, square);
    square = multiply(square, square);
  }
  return multiply(factor, before) ^ after;
}

}  // namespace imgfs

// The loop that decodes nearly everything: as long as there is input for any token and room for any match, it takes
// eight bytes of input at a time and copies in blocks that may write beyond the end of a match.
#include "inflater.h"

namespace imgfs::inflating {

namespace {

// Each turn takes input up to three times, up to eight bytes each.
constexpr size_t kInputMargin = 32;
// Three literals, a match of 258 bytes and what a copy writes beyond it.
constexpr size_t kOutputMargin = 3 + 258 + 64;

inline uint64_t load64(const uint8_t* at) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  uint64_t value;
  memcpy(&value, at, sizeof value);
  return value;
#else
  uint64_t value = 0;
  for (unsigned byte = 0; byte < 8; ++byte) value |= static_cast<uint64_t>(at[byte]) << (8 * byte);
  return value;
#endif
}

template <size_t length>
inline void copyBlock(uint8_t* to, const uint8_t* from) {
  uint8_t block[length];
  memcpy(block, from, length);
  memcpy(to, block, length);
}

// Copy `length` bytes from elsewhere; reads and writes up to 31 bytes more.
inline __attribute__((always_inline)) void copyApart(uint8_t* to, const uint8_t* from, size_t length) {
  uint8_t* const end = to + length;
  do {
    copyBlock<16>(to, from);
    copyBlock<16>(to + 16, from + 16);
    to += 32;
    from += 32;
  } while (to < end);
}

// Copy `length` bytes from `distance` before `to`, overlapping as deflate means it; writes up to 63 bytes more.
inline __attribute__((always_inline)) void copyMatch(uint8_t* to, size_t distance, size_t length) {
  const uint8_t* from = to - distance;
  uint8_t* const end = to + length;
  if (__builtin_expect(distance >= 16, 1)) {
    copyBlock<16>(to, from);
    copyBlock<16>(to + 16, from + 16);
    if (length <= 32) return;
    to += 32;
    from += 32;
    do {
      copyBlock<16>(to, from);
      copyBlock<16>(to + 16, from + 16);
      to += 32;
      from += 32;
    } while (to < end);
    return;
  }
  if (distance == 1) {
    memset(to, *from, 16);
    for (to += 16; to < end; to += 16) memset(to, *from, 16);
    return;
  }
  if (distance >= 8) {
    do {
      copyBlock<8>(to, from);
      to += 8;
      from += 8;
    } while (to < end);
    return;
  }
  // What a block writes beyond `distance` bytes is written again by the next one.
  do {
    copyBlock<8>(to, from);
    to += distance;
    from += distance;
  } while (to < end);
}

}  // namespace

template <bool isWatched>
inline __attribute__((always_inline)) const char* Inflater::fastLoop(Input& input, Output& output) {
  const uint8_t* const inFrom = input.at;
  const uint8_t* const inEnd = input.end - kInputMargin;
  uint8_t* const outEnd = output.end - kOutputMargin;
  const uint8_t* in = input.at;
  uint8_t* out = output.at;
  uint64_t hold = hold_;
  uint32_t count = bitCount_;
  const Entry* const literals = literalTable_;
  const Entry* const distances = distanceTable_;
  constexpr uint64_t literalMask = (1u << kLiteralRoot) - 1;
  constexpr uint64_t distanceMask = (1u << kDistanceRoot) - 1;
  const char* damage = nullptr;

  // At least 56 bits afterwards. Bits above `count` are those that come next, not zero.
  const auto refill = [&] {
    hold |= load64(in) << count;
    in += (63 - count) >> 3;
    count |= 56;
  };
  const auto drop = [&](Entry entry) {
    hold >>= consumedBits(entry);
    count -= consumedBits(entry);
  };

  do {
    refill();
    Entry entry = literals[hold & literalMask];
    // Three literals of the first table are 33 bits at most.
    if (entry & kLiteral) {
      drop(entry);
      *out++ = static_cast<uint8_t>(entry >> 16);
      entry = literals[hold & literalMask];
      if (entry & kLiteral) {
        drop(entry);
        *out++ = static_cast<uint8_t>(entry >> 16);
        entry = literals[hold & literalMask];
        if (entry & kLiteral) {
          drop(entry);
          *out++ = static_cast<uint8_t>(entry >> 16);
          continue;
        }
      }
    }
    if (__builtin_expect(entry & kSpecial, 0)) {
      if (entry & kLink) {
        const Entry link = entry;
        entry = literals[valueOf(link) + (hold >> kLiteralRoot & ((1u << codeBits(link)) - 1))];
        drop(link);
        if (entry & kLiteral) {
          drop(entry);
          *out++ = static_cast<uint8_t>(entry >> 16);
          continue;
        }
      }
      if (entry & kInvalid) {
        damage = "invalid literal/length code";
        break;
      }
      if (entry & kEndOfBlock) {
        drop(entry);
        endBlock();
        break;
      }
    }
    // Two literals and a length are 22 + 20 bits at most; a distance is 28.
    const uint64_t atLength = hold;
    drop(entry);
    const size_t length = valueOf(entry) + ((atLength & ((uint64_t{1} << consumedBits(entry)) - 1)) >> codeBits(entry));
    refill();
    entry = distances[hold & distanceMask];
    if (entry & kLink) {
      const Entry link = entry;
      entry = distances[valueOf(link) + (hold >> kDistanceRoot & ((1u << codeBits(link)) - 1))];
      drop(link);
    }
    if (__builtin_expect(entry & kSpecial, 0)) {
      damage = "invalid distance code";
      break;
    }
    const uint64_t atDistance = hold;
    drop(entry);
    const size_t distance =
        valueOf(entry) + ((atDistance & ((uint64_t{1} << consumedBits(entry)) - 1)) >> codeBits(entry));
    const auto here = static_cast<size_t>(out - output.begin);
    if (__builtin_expect(distance > here, 0)) {
      // Of memory that is gone: often, in the first 32 KiB of a piece.
      const size_t back = distance - here;
      if (length <= back && back <= kept_.size()) {
        if (isWatched) references_.mark(out, distance, length);
        copyApart(out, kept_.before(back), length);
        out += length;
        continue;
      }
      output.at = out;
      if (!canReach(output, distance)) {
        damage = "invalid distance too far back";
        break;
      }
      copyExactly(output, distance, length);
      out = output.at;
      continue;
    }
    if (isWatched) references_.mark(out, distance, length);
    copyMatch(out, distance, length);
    out += length;
  } while (in < inEnd && out < outEnd);

  input.at = in;
  output.at = out;
  bitCount_ = count;
  hold_ = hold & ((uint64_t{1} << count) - 1);
  giveBack(input, inFrom);
  return damage;
}

#if defined(__x86_64__)
#define IMGFS_HAS_BMI2 1
__attribute__((target("bmi,bmi2"))) const char* Inflater::fastLoopBmi2(Input& in, Output& out) {
  return fastLoop<false>(in, out);
}
#endif

const char* Inflater::fastLoopPlain(Input& in, Output& out) { return fastLoop<false>(in, out); }

const char* Inflater::decodeFast(Input& in, Output& out) {
  while (state_ == State::tokens && static_cast<size_t>(in.end - in.at) > kInputMargin &&
         static_cast<size_t>(out.end - out.at) > kOutputMargin) {
    const char* damage;
    if (references_.isWatching()) {
      damage = fastLoop<true>(in, out);
    } else {
#ifdef IMGFS_HAS_BMI2
      static const bool hasBmi2 = __builtin_cpu_supports("bmi2");
      damage = hasBmi2 ? fastLoopBmi2(in, out) : fastLoopPlain(in, out);
#else
      damage = fastLoopPlain(in, out);
#endif
    }
    if (damage != nullptr) return damage;
  }
  return nullptr;
}

}  // namespace imgfs::inflating

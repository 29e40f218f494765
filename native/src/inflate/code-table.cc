#include "code-table.h"

#include <cstring>

namespace imgfs::inflating {

namespace {

// RFC 1951, 3.2.5.
constexpr uint16_t kLengthBase[29] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                      31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
constexpr uint8_t kLengthExtra[29] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
constexpr uint16_t kDistanceBase[30] = {1,   2,   3,   4,   5,   7,    9,    13,   17,   25,   33,   49,   65,    97,    129,
                                        193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};

constexpr size_t kEndSymbol = 256;
constexpr size_t kMaxSymbols = 288;
// Known to be none after one bit.
constexpr Entry kNoCode = kSpecial | kInvalid | 1 << 8 | 1;

// What a symbol means, without the bits of its code.
struct Meaning {
  Entry flags;
  unsigned extra;
};

Meaning meaningOf(Alphabet alphabet, size_t symbol) {
  if (alphabet == Alphabet::codeLengths) return {static_cast<Entry>(symbol << 16), 0};
  if (alphabet == Alphabet::distances) {
    if (symbol >= 30) return {kSpecial | kInvalid, 0};
    const unsigned extra = symbol < 4 ? 0 : static_cast<unsigned>(symbol / 2 - 1);
    return {static_cast<Entry>(kDistanceBase[symbol] << 16), extra};
  }
  if (symbol < kEndSymbol) return {kLiteral | static_cast<Entry>(symbol << 16), 0};
  if (symbol == kEndSymbol) return {kSpecial | kEndOfBlock, 0};
  if (symbol - 257 >= 29) return {kSpecial | kInvalid, 0};
  return {static_cast<Entry>(kLengthBase[symbol - 257] << 16), kLengthExtra[symbol - 257]};
}

Entry entryOf(Alphabet alphabet, size_t symbol, unsigned bits) {
  const Meaning meaning = meaningOf(alphabet, symbol);
  return meaning.flags | bits << 8 | (bits + meaning.extra);
}

// Codes are read from their highest bit on, input from its lowest: the next code of `bits` bits, mirrored.
uint32_t nextMirrored(uint32_t code, unsigned bits) {
  const uint32_t zeros = code ^ ((1u << bits) - 1);
  if (zeros == 0) return 0;
  const uint32_t highest = 1u << (31 - __builtin_clz(zeros));
  return (code & (highest - 1)) | highest;
}

class Builder {
 public:
  Builder(Alphabet alphabet, const uint8_t* lengths, size_t count, Entry* table)
      : alphabet_(alphabet), lengths_(lengths), count_(count), table_(table) {
    root_ = alphabet == Alphabet::codeLengths ? kCodeLengthRoot
            : alphabet == Alphabet::literals  ? kLiteralRoot
                                              : kDistanceRoot;
  }

  bool build() {
    for (size_t symbol = 0; symbol < count_; ++symbol) ++ofLength_[lengths_[symbol]];
    longest_ = kMaxCodeBits;
    while (longest_ > 0 && ofLength_[longest_] == 0) --longest_;
    if (longest_ == 0) {
      fillEmpty();
      return true;
    }
    if (!isCode()) return false;
    sort();
    fillRoot();
    fillSeconds();
    return true;
  }

 private:
  // zlib reads each bit of an empty code of code lengths as the length 0.
  void fillEmpty() {
    const Entry entry = alphabet_ == Alphabet::codeLengths ? entryOf(alphabet_, 0, 1) : kNoCode;
    for (size_t at = 0; at < size_t{1} << root_; ++at) table_[at] = entry;
  }

  bool isCode() const {
    int left = 1;
    for (unsigned bits = 1; bits <= kMaxCodeBits; ++bits) {
      left = left * 2 - ofLength_[bits];
      if (left < 0) return false;
    }
    return left == 0 || (longest_ == 1 && alphabet_ != Alphabet::codeLengths);
  }

  void sort() {
    uint16_t place[kMaxCodeBits + 2] = {};
    for (unsigned bits = 1; bits <= kMaxCodeBits; ++bits) place[bits + 1] = place[bits] + ofLength_[bits];
    for (size_t symbol = 0; symbol < count_; ++symbol) {
      if (lengths_[symbol] != 0) sorted_[place[lengths_[symbol]]++] = static_cast<uint16_t>(symbol);
    }
  }

  // Bit by bit: codes of one more bit go into a table twice as large, whose halves are the same until then.
  void fillRoot() {
    // Stays where a code of one single bit has no other.
    table_[0] = kNoCode;
    size_t size = 1;
    for (unsigned bits = 1; bits <= root_; ++bits) {
      memcpy(table_ + size, table_, size * sizeof(Entry));
      size *= 2;
      for (unsigned left = ofLength_[bits]; left > 0; --left) {
        table_[code_] = entryOf(alphabet_, sorted_[next_++], bits);
        code_ = nextMirrored(code_, bits);
      }
    }
  }

  void fillSeconds() {
    const uint32_t rootMask = (1u << root_) - 1;
    size_t end = size_t{1} << root_;
    size_t start = 0;
    unsigned looksAt = 0;
    uint32_t prefix = UINT32_MAX;
    for (unsigned bits = root_ + 1; bits <= longest_; ++bits) {
      for (; ofLength_[bits] > 0; --ofLength_[bits]) {
        if ((code_ & rootMask) != prefix) {
          prefix = code_ & rootMask;
          looksAt = bitsOfSecond(bits);
          start = end;
          end += size_t{1} << looksAt;
          table_[prefix] = kSpecial | kLink | static_cast<Entry>(start << 16) | looksAt << 8 | root_;
        }
        const Entry entry = entryOf(alphabet_, sorted_[next_++], bits - root_);
        for (size_t at = code_ >> root_; at < size_t{1} << looksAt; at += size_t{1} << (bits - root_)) {
          table_[start + at] = entry;
        }
        code_ = nextMirrored(code_, bits);
      }
    }
  }

  // How far a second table must look that begins with a code of `bits` bits: until its codes fill it.
  unsigned bitsOfSecond(unsigned bits) const {
    unsigned looksAt = bits - root_;
    int used = ofLength_[bits];
    while (used < 1 << looksAt) {
      ++looksAt;
      used = used * 2 + ofLength_[root_ + looksAt];
    }
    return looksAt;
  }

  Alphabet alphabet_;
  const uint8_t* lengths_;
  size_t count_;
  Entry* table_;
  unsigned root_ = 0;
  unsigned longest_ = 0;
  uint32_t code_ = 0;
  size_t next_ = 0;
  uint16_t ofLength_[kMaxCodeBits + 1] = {};
  uint16_t sorted_[kMaxSymbols];
};

}  // namespace

bool buildTable(Alphabet alphabet, const uint8_t* lengths, size_t count, Entry* table) {
  return Builder(alphabet, lengths, count, table).build();
}

}  // namespace imgfs::inflating

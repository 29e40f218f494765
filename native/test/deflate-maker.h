// Deflate streams that zlib does not make: any code, legal or nearly so.
#pragma once

#include <random>
#include <string>
#include <vector>

namespace imgfs {

class BitWriter {
 public:
  void put(uint32_t value, unsigned bits) {
    for (unsigned bit = 0; bit < bits; ++bit) {
      if (used_ % 8 == 0) bytes_ += '\0';
      if (value >> bit & 1) bytes_.back() = static_cast<char>(bytes_.back() | 1 << used_ % 8);
      ++used_;
    }
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
  size_t used_ = 0;
};

using Random = std::mt19937;

// Lengths of a complete code over some of `symbols` symbols: leaves of a random tree that are given to them.
inline std::vector<uint8_t> randomLengths(Random& random, size_t symbols, size_t leaves, unsigned maxBits) {
  std::vector<uint8_t> tree = {0};
  while (tree.size() < leaves) {
    // Mostly the newest: long codes.
    const size_t at = random() % 3 == 0 ? random() % tree.size() : tree.size() - 1;
    if (tree[at] >= maxBits) {
      if (random() % 8 == 0) break;
      continue;
    }
    ++tree[at];
    tree.push_back(tree[at]);
  }
  std::vector<uint8_t> lengths(symbols, 0);
  for (const uint8_t bits : tree) {
    size_t at = random() % symbols;
    while (lengths[at] != 0) at = (at + 1) % symbols;
    lengths[at] = bits;
  }
  return lengths;
}

// The header of a dynamic block for such lengths; each of them is written as it is, with a code of 16 equal lengths.
inline void putDynamicHeader(BitWriter& writer, const std::vector<uint8_t>& literals,
                             const std::vector<uint8_t>& distances, bool isLast) {
  writer.put(isLast, 1);
  writer.put(2, 2);
  writer.put(static_cast<uint32_t>(literals.size() - 257), 5);
  writer.put(static_cast<uint32_t>(distances.size() - 1), 5);
  writer.put(15, 4);
  const uint8_t order[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
  for (const uint8_t symbol : order) writer.put(symbol < 16 ? 4 : 0, 3);
  for (const auto* lengths : {&literals, &distances}) {
    for (const uint8_t bits : *lengths) {
      // Codes of equal length count up; they are written from the highest bit on.
      for (unsigned bit = 4; bit-- > 0;) writer.put(bits >> bit & 1, 1);
    }
  }
}

// Blocks with random codes and random bits as data. Now and then a length is wrong.
inline std::string randomDeflate(Random& random) {
  BitWriter writer;
  for (int blocks = 1 + static_cast<int>(random() % 3); blocks > 0; --blocks) {
    auto literals = randomLengths(random, 257 + random() % 30, 2 + random() % 256, 15);
    auto distances = randomLengths(random, 1 + random() % 30, 1, 15);
    if (random() % 8 != 0 && distances.size() > 2) {
      distances = randomLengths(random, distances.size(), 2 + random() % (distances.size() - 1), 15);
    }
    if (random() % 16 == 0) distances.assign(1 + random() % 2, static_cast<uint8_t>(random() % 2));
    if (literals[256] == 0 && random() % 16 != 0) {
      size_t other = random() % literals.size();
      while (literals[other] == 0) other = (other + 1) % literals.size();
      std::swap(literals[256], literals[other]);
    }
    if (random() % 10 == 0) literals[random() % literals.size()] = static_cast<uint8_t>(random() % 16);
    if (random() % 10 == 0) distances[random() % distances.size()] = static_cast<uint8_t>(random() % 16);
    putDynamicHeader(writer, literals, distances, random() % 2 == 0);
    for (int words = static_cast<int>(random() % 200); words > 0; --words) writer.put(static_cast<uint32_t>(random()), 32);
  }
  return writer.bytes();
}

}  // namespace imgfs

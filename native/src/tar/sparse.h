// Where the data of a sparse file belongs, in the four ways GNU tar wrote it; as src/layer/tar/sparse.ts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "../bytes.h"
#include "pax.h"

namespace imgfs {

struct SparsePiece {
  uint64_t offset;
  uint64_t length;
};

// As maxSparsePieces in src/layer/tar/sparse.ts.
constexpr uint64_t kMaxPieces = 1 << 20;

// Formats 0.0 and 0.1: the map is in the pax records.
bool parseMap(const PaxRecords& records, std::vector<SparsePiece>& pieces);

// The old GNU format: up to `count` pieces in binary fields of a block. False when one is malformed.
bool readOldPieces(const uint8_t* data, size_t start, size_t count, std::vector<SparsePiece>& pieces);

// Pieces in order, inside the file, and together as long as the data that is stored.
bool isValidMap(const std::vector<SparsePiece>& pieces, uint64_t size, uint64_t storedSize);

// Format 1.0: decimal lines before the data, in blocks of their own.
class DecimalMap {
 public:
  enum class Result { more, done, malformed };

  // The map is in the first of `storedSize` bytes of data.
  explicit DecimalMap(uint64_t storedSize = 0) : left_(storedSize) {}
  Result takeBlock(const uint8_t (&block)[512], std::vector<SparsePiece>& pieces);
  // Bytes of data behind the blocks that were taken.
  uint64_t left() const { return left_; }
  void save(ByteWriter& writer) const;
  void restore(ByteReader& reader);

 private:
  bool takeNumber(uint64_t number, std::vector<SparsePiece>& pieces);

  bool hasExpected_ = false;
  uint64_t expected_ = 0;
  bool hasOffset_ = false;
  uint64_t offset_ = 0;
  std::string digits_;
  uint64_t left_ = 0;
};

}  // namespace imgfs

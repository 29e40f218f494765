#include "sparse.h"

#include <algorithm>

#include "numbers.h"

namespace imgfs {

bool parseMap(const PaxRecords& records, std::vector<SparsePiece>& pieces) {
  const std::string map = records.get("GNU.sparse.map");
  const auto count = safeCount(parseDecimal(records.get("GNU.sparse.numblocks")));
  if (!count || *count > kMaxPieces) return false;
  const uint64_t numbers = map.empty() ? 0 : 1 + std::count(map.begin(), map.end(), ',');
  if (numbers != *count * 2) return false;
  size_t at = 0;
  const auto number = [&map, &at]() {
    const size_t comma = std::min(map.find(',', at), map.size());
    const auto value = safeCount(parseDecimal(map.substr(at, comma - at)));
    at = comma + 1;
    return value;
  };
  for (uint64_t index = 0; index < *count; ++index) {
    const auto offset = number();
    const auto length = number();
    if (!offset || !length) return false;
    pieces.push_back({*offset, *length});
  }
  return true;
}

bool readOldPieces(const uint8_t* data, size_t start, size_t count, std::vector<SparsePiece>& pieces) {
  for (size_t index = 0; index < count; ++index) {
    const uint8_t* at = data + start + index * 24;
    if (*at == 0) break;
    const auto offset = safeCount(parseNumber(at, 12));
    const auto length = safeCount(parseNumber(at + 12, 12));
    if (!offset || !length) return false;
    pieces.push_back({*offset, *length});
  }
  return true;
}

bool isValidMap(const std::vector<SparsePiece>& pieces, uint64_t size, uint64_t storedSize) {
  uint64_t end = 0, stored = 0;
  for (const auto& piece : pieces) {
    if (piece.offset < end || piece.offset + piece.length > size) return false;
    end = piece.offset + piece.length;
    stored += piece.length;
  }
  return stored == storedSize;
}

DecimalMap::Result DecimalMap::takeBlock(const uint8_t (&block)[512], std::vector<SparsePiece>& pieces) {
  left_ -= sizeof block;
  for (const uint8_t byte : block) {
    if (byte != '\n') {
      if (byte < '0' || byte > '9' || digits_.size() > 18) return Result::malformed;
      digits_ += static_cast<char>(byte);
      continue;
    }
    const auto number = safeCount(parseDecimal(digits_));
    if (!number || !takeNumber(*number, pieces)) return Result::malformed;
    digits_.clear();
    if (pieces.size() == expected_) return Result::done;
  }
  return left_ < sizeof block ? Result::malformed : Result::more;
}

// The number of pieces, then offset and length of each.
bool DecimalMap::takeNumber(uint64_t number, std::vector<SparsePiece>& pieces) {
  if (!hasExpected_) {
    if (number > kMaxPieces) return false;
    hasExpected_ = true;
    expected_ = number;
  } else if (!hasOffset_) {
    hasOffset_ = true;
    offset_ = number;
  } else {
    pieces.push_back({offset_, number});
    hasOffset_ = false;
  }
  return true;
}

void DecimalMap::save(ByteWriter& writer) const {
  writer.value(hasExpected_);
  writer.value(expected_);
  writer.value(hasOffset_);
  writer.value(offset_);
  writer.text(digits_);
  writer.value(left_);
}

void DecimalMap::restore(ByteReader& reader) {
  hasExpected_ = reader.value<uint8_t>() != 0;
  expected_ = reader.value<uint64_t>();
  hasOffset_ = reader.value<uint8_t>() != 0;
  offset_ = reader.value<uint64_t>();
  digits_ = reader.text();
  left_ = reader.value<uint64_t>();
}

}  // namespace imgfs

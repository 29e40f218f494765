// The header of a gzip member (RFC 1952, 2.3), in pieces of any length.
#pragma once

#include <cstddef>
#include <cstdint>

namespace imgfs::inflating {

class GzipHeader {
 public:
  enum class Result : uint8_t { more, done, error };

  // Takes bytes up to the end of the header.
  Result feed(const uint8_t*& in, size_t& length);
  // What is wrong, in zlib's words.
  const char* error() const { return error_; }

 private:
  enum class Part : uint8_t { fixed, extraLength, extra, name, comment, checksum, done };

  bool take(uint8_t byte);
  bool takeFixed(uint8_t byte);
  void next(Part part);
  bool isWanted(Part part) const;

  Part part_ = Part::fixed;
  size_t at_ = 0;
  uint8_t flags_ = 0;
  uint32_t value_ = 0;
  uint32_t crc_ = 0;
  const char* error_ = "";
};

}  // namespace imgfs::inflating

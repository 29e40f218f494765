// Plain values in a buffer, in the byte order of the machine: saved states and records for JavaScript.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace imgfs {

// Appends values.
class ByteWriter {
 public:
  explicit ByteWriter(std::vector<uint8_t>& bytes) : bytes_(bytes) {}
  template <typename T>
  void value(T v) {
    const auto* p = reinterpret_cast<const uint8_t*>(&v);
    bytes_.insert(bytes_.end(), p, p + sizeof v);
  }
  void raw(const void* data, size_t length) {
    const auto* p = static_cast<const uint8_t*>(data);
    bytes_.insert(bytes_.end(), p, p + length);
  }
  void text(const std::string& s) {
    value<uint32_t>(static_cast<uint32_t>(s.size()));
    raw(s.data(), s.size());
  }

 private:
  std::vector<uint8_t>& bytes_;
};

// Reads them back. After the first value that is not there everything reads as zero and `ok` is false.
class ByteReader {
 public:
  ByteReader(const uint8_t* data, size_t length) : data_(data), length_(length) {}
  template <typename T>
  T value() {
    T v{};
    if (!raw(&v, sizeof v)) v = T{};
    return v;
  }
  bool raw(void* into, size_t length);
  std::string text();
  bool ok() const { return ok_; }

 private:
  const uint8_t* data_;
  size_t length_;
  size_t at_ = 0;
  bool ok_ = true;
};

}  // namespace imgfs

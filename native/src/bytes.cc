#include "bytes.h"

#include <cstring>

namespace imgfs {

bool ByteReader::raw(void* into, size_t length) {
  if (!ok_ || length > length_ - at_) {
    ok_ = false;
    return false;
  }
  if (length > 0) memcpy(into, data_ + at_, length);
  at_ += length;
  return true;
}

std::string ByteReader::text() {
  const auto length = value<uint32_t>();
  if (!ok_ || length > length_ - at_) {
    ok_ = false;
    return "";
  }
  std::string s(reinterpret_cast<const char*>(data_ + at_), length);
  at_ += length;
  return s;
}

}  // namespace imgfs

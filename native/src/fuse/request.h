// One request as the kernel sent it, read with care: lengths are checked before anything is looked at, so that no
// sequence of bytes makes the driver read outside its buffer.
#pragma once

#include <cstring>
#include <string_view>

#include "wire.h"

namespace imgfs::fuse {

class Request {
 public:
  // False when the bytes are not one whole request. The bytes must outlive the Request.
  bool parse(const uint8_t* bytes, size_t length);

  const InHeader& header() const { return header_; }

  // The fixed argument of the opcode; false when the request is too short for it. Older kernels send shorter
  // arguments for none of the structures of this driver, so short is malformed.
  template <typename T>
  bool take(T& out) {
    if (left_ < sizeof(T)) return false;
    std::memcpy(&out, next_, sizeof(T));
    next_ += sizeof(T);
    left_ -= sizeof(T);
    return true;
  }

  // A NUL-terminated string; false when the NUL is missing.
  bool takeString(std::string_view& out);

  // The rest, when it is at least `length` bytes long: data of a write.
  bool takeBytes(size_t length, std::string_view& out);

  size_t left() const { return left_; }

 private:
  InHeader header_{};
  const uint8_t* next_ = nullptr;
  size_t left_ = 0;
};

// True for one path component as the kernel sends it: not empty, no slash, at most 255 bytes (NAME_MAX of a FUSE
// file system is 1024, but no name of this file system is longer than 255).
bool isComponent(std::string_view name);

}  // namespace imgfs::fuse

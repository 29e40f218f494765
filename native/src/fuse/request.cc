#include "request.h"

namespace imgfs::fuse {

bool Request::parse(const uint8_t* bytes, size_t length) {
  if (length < sizeof(InHeader)) return false;
  std::memcpy(&header_, bytes, sizeof(InHeader));
  // The device hands out exactly one request for each read.
  if (header_.len != length) return false;
  size_t extensions = size_t{header_.totalExtLen} * 8;
  size_t arguments = length - sizeof(InHeader);
  if (extensions > arguments) return false;
  next_ = bytes + sizeof(InHeader);
  left_ = arguments - extensions;
  return true;
}

bool Request::takeString(std::string_view& out) {
  const void* end = left_ == 0 ? nullptr : std::memchr(next_, 0, left_);
  if (end == nullptr) return false;
  size_t length = static_cast<size_t>(static_cast<const uint8_t*>(end) - next_);
  out = std::string_view(reinterpret_cast<const char*>(next_), length);
  next_ += length + 1;
  left_ -= length + 1;
  return true;
}

bool Request::takeBytes(size_t length, std::string_view& out) {
  if (left_ < length) return false;
  out = std::string_view(reinterpret_cast<const char*>(next_), length);
  next_ += length;
  left_ -= length;
  return true;
}

bool isComponent(std::string_view name) {
  return !name.empty() && name.size() <= 255 && name.find('/') == std::string_view::npos;
}

}  // namespace imgfs::fuse

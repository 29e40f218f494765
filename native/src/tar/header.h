// One header block of a tar archive, in any of its formats; the rules are those of src/layer/tar/header-block.ts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace imgfs {

constexpr size_t kBlock = 512;

struct Header {
  bool gnu = false;
  uint8_t typeFlag = 0;
  std::string path, linkPath;
  int64_t mode = 0, uid = 0, gid = 0, size = 0, mtime = 0, devMajor = 0, devMinor = 0;
};

bool isZero(const uint8_t* block);

// Null when `block` is a header; else what is wrong with it.
const char* parseHeader(const uint8_t* block, Header& header);

}  // namespace imgfs

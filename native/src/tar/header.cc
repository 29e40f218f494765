#include "header.h"

#include <algorithm>
#include <cstring>

#include "numbers.h"

namespace imgfs {

namespace {

std::string textField(const uint8_t* data, size_t start, size_t length) {
  const char* p = reinterpret_cast<const char*>(data + start);
  return std::string(p, strnlen(p, length));
}

bool checksumMatches(const uint8_t* data) {
  const auto written = parseOctal(data + 148, 8);
  int64_t sumUnsigned = 0, sumSigned = 0;
  for (size_t at = 0; at < kBlock; ++at) {
    const uint8_t byte = at >= 148 && at < 156 ? ' ' : data[at];
    sumUnsigned += byte;
    sumSigned += static_cast<int8_t>(byte);
  }
  return written && (*written == sumUnsigned || *written == sumSigned);
}

enum class TarFormat { v7, ustar, star, gnu };

TarFormat formatOf(const uint8_t* data) {
  if (memcmp(data + 257, "ustar  \0", 8) == 0) return TarFormat::gnu;
  if (memcmp(data + 257, "ustar\0", 6) != 0) return TarFormat::v7;
  return memcmp(data + 508, "tar\0", 4) == 0 ? TarFormat::star : TarFormat::ustar;
}

// GNU archives have times where ustar has a prefix, except those written by Go before 1.8.
std::string prefixOf(const uint8_t* data, TarFormat format) {
  if (format == TarFormat::ustar) return textField(data, 345, 155);
  if (format == TarFormat::star) return textField(data, 345, 131);
  if (format == TarFormat::v7) return "";
  const auto isTime = [data](size_t at) { return data[at] == 0 || parseNumber(data + at, 12).has_value(); };
  if (isTime(345) && isTime(357)) return "";
  const std::string prefix = textField(data, 345, 155);
  const bool ascii = std::all_of(prefix.begin(), prefix.end(), [](char c) { return !(c & 0x80); });
  return ascii ? prefix : "";
}

}  // namespace

bool isZero(const uint8_t* block) {
  return std::all_of(block, block + kBlock, [](uint8_t byte) { return byte == 0; });
}

const char* parseHeader(const uint8_t* block, Header& header) {
  if (!checksumMatches(block)) return "header checksum does not match";
  const TarFormat format = formatOf(block);
  const auto mode = parseNumber(block + 100, 8);
  const auto uid = parseNumber(block + 108, 8);
  const auto gid = parseNumber(block + 116, 8);
  const auto size = parseNumber(block + 124, 12);
  const auto mtime = parseNumber(block + 136, 12);
  const bool hasDevice = format != TarFormat::v7;
  const auto devMajor = hasDevice ? parseNumber(block + 329, 8) : 0;
  const auto devMinor = hasDevice ? parseNumber(block + 337, 8) : 0;
  if (!mode || !uid || !gid || !size || !mtime || !devMajor || !devMinor) {
    return "header holds a malformed number";
  }
  const std::string prefix = prefixOf(block, format);
  header.gnu = format == TarFormat::gnu;
  header.typeFlag = block[156];
  header.path = (prefix.empty() ? prefix : prefix + "/") + textField(block, 0, 100);
  header.linkPath = textField(block, 157, 100);
  header.mode = *mode;
  header.uid = *uid;
  header.gid = *gid;
  header.size = *size;
  header.mtime = *mtime;
  header.devMajor = *devMajor;
  header.devMinor = *devMinor;
  return nullptr;
}

}  // namespace imgfs

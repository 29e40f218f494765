// Numbers of tar headers; the rules are those of src/layer/tar/number-field.ts and pax.ts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace imgfs {

constexpr int64_t kMaxSafeInteger = (int64_t{1} << 53) - 1;

inline std::optional<int64_t> parseOctal(const uint8_t* field, size_t length) {
  size_t start = 0, end = length;
  while (start < end && (field[start] == 0 || field[start] == ' ')) ++start;
  while (end > start && (field[end - 1] == 0 || field[end - 1] == ' ')) --end;
  int64_t value = 0;
  for (size_t at = start; at < end; ++at) {
    if (field[at] == 0) return value;
    if (field[at] < '0' || field[at] > '7') return std::nullopt;
    value = value * 8 + (field[at] - '0');
  }
  return value;
}

inline std::optional<int64_t> parseBase256(const uint8_t* field, size_t length) {
  const uint8_t inverted = (field[0] & 0x40) ? 0xff : 0;
  uint64_t value = 0;
  for (size_t at = 0; at < length; ++at) {
    const uint8_t byte = (field[at] ^ inverted) & (at == 0 ? 0x7f : 0xff);
    if (value >> 56) return std::nullopt;
    value = value << 8 | byte;
  }
  if (value >> 63) return std::nullopt;
  return inverted ? -static_cast<int64_t>(value) - 1 : static_cast<int64_t>(value);
}

inline std::optional<int64_t> parseNumber(const uint8_t* field, size_t length) {
  return (field[0] & 0x80) ? parseBase256(field, length) : parseOctal(field, length);
}

inline std::optional<int64_t> parseDecimal(const std::string& text) {
  const bool negative = !text.empty() && text[0] == '-';
  const size_t digits = text.size() - negative;
  if (digits < 1 || digits > 19) return std::nullopt;
  uint64_t value = 0;
  for (size_t at = negative; at < text.size(); ++at) {
    if (text[at] < '0' || text[at] > '9') return std::nullopt;
    value = value * 10 + static_cast<uint64_t>(text[at] - '0');
  }
  if (value > (uint64_t{1} << 63) - (negative ? 0 : 1)) return std::nullopt;
  return negative ? static_cast<int64_t>(0 - value) : static_cast<int64_t>(value);
}

inline std::optional<uint64_t> safeCount(std::optional<int64_t> value) {
  if (!value || *value < 0 || *value > kMaxSafeInteger) return std::nullopt;
  return static_cast<uint64_t>(*value);
}

inline int64_t clampNs(__int128 ns) {
  if (ns > INT64_MAX) return INT64_MAX;
  return ns < INT64_MIN ? INT64_MIN : static_cast<int64_t>(ns);
}

inline std::optional<int64_t> parsePaxTime(const std::string& text) {
  size_t at = !text.empty() && text[0] == '-';
  const bool negative = at == 1;
  const size_t first = at;
  __int128 seconds = 0;
  for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
    if (at - first >= 18) return std::nullopt;
    seconds = seconds * 10 + (text[at] - '0');
  }
  if (at == first) return std::nullopt;
  int64_t fraction = 0;
  if (at < text.size()) {
    if (text[at++] != '.') return std::nullopt;
    int64_t unit = 100'000'000;
    for (; at < text.size(); ++at, unit /= 10) {
      if (text[at] < '0' || text[at] > '9') return std::nullopt;
      fraction += unit * (text[at] - '0');
    }
  }
  const __int128 ns = seconds * 1'000'000'000 + fraction;
  return clampNs(negative ? -ns : ns);
}

}  // namespace imgfs

#include "pax.h"

#include <cstdint>

namespace imgfs {

namespace {

bool isTextKey(const std::string& key) {
  return key == "path" || key == "linkpath" || key == "uname" || key == "gname";
}

}  // namespace

bool parsePax(const std::string& bytes, PaxRecords& records) {
  std::string map;
  size_t sparseCount = 0;
  for (size_t at = 0; at < bytes.size();) {
    const size_t space = bytes.find(' ', at);
    if (space == std::string::npos || space == at || space - at > 20) return false;
    uint64_t length = 0;
    for (size_t digit = at; digit < space; ++digit) {
      if (bytes[digit] < '0' || bytes[digit] > '9') return false;
      // Far above any payload, and far from overflow.
      if (length < (uint64_t{1} << 56)) length = length * 10 + static_cast<uint64_t>(bytes[digit] - '0');
    }
    if (length < 5 || length > bytes.size() - at || at + length <= space + 1) return false;
    const size_t next = at + length;
    if (bytes[next - 1] != '\n') return false;
    const size_t equals = bytes.find('=', space + 1);
    if (equals == std::string::npos || equals >= next - 1 || equals == space + 1) return false;
    const std::string key = bytes.substr(space + 1, equals - space - 1);
    const std::string value = bytes.substr(equals + 1, next - 1 - equals - 1);
    if ((isTextKey(key) ? value : key).find('\0') != std::string::npos) return false;
    at = next;
    if (key == "GNU.sparse.offset" || key == "GNU.sparse.numbytes") {
      const char* wanted = sparseCount % 2 == 0 ? "GNU.sparse.offset" : "GNU.sparse.numbytes";
      if (key != wanted || value.find(',') != std::string::npos) return false;
      if (sparseCount++ > 0) map += ',';
      map += value;
    } else {
      records.set(key, value);
    }
  }
  if (sparseCount > 0) records.set("GNU.sparse.map", map);
  return true;
}

void PaxRecords::set(const std::string& key, const std::string& value) {
  const auto [found, added] = index_.try_emplace(key, list_.size());
  if (added) list_.emplace_back(key, value);
  else list_[found->second].second = value;
}

std::string PaxRecords::get(const std::string& key) const {
  const auto found = index_.find(key);
  return found == index_.end() ? "" : list_[found->second].second;
}

void PaxRecords::clear() {
  list_.clear();
  index_.clear();
}

void PaxRecords::save(ByteWriter& writer) const {
  writer.value(static_cast<uint32_t>(list_.size()));
  for (const auto& [key, value] : list_) {
    writer.text(key);
    writer.text(value);
  }
}

void PaxRecords::restore(ByteReader& reader) {
  for (auto left = reader.value<uint32_t>(); left > 0 && reader.ok(); --left) {
    const std::string key = reader.text();
    set(key, reader.text());
  }
}

}  // namespace imgfs

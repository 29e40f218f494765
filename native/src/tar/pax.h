// Records of a pax extended header; the rules are those of src/layer/tar/pax.ts.
#pragma once

#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "../bytes.h"

namespace imgfs {

// Records in the order in which their keys first came; the last value of a key counts.
class PaxRecords {
 public:
  void set(const std::string& key, const std::string& value);
  std::string get(const std::string& key) const;
  void clear();
  size_t size() const { return list_.size(); }
  auto begin() const { return list_.begin(); }
  auto end() const { return list_.end(); }
  void save(ByteWriter& writer) const;
  void restore(ByteReader& reader);

 private:
  std::vector<std::pair<std::string, std::string>> list_;
  // A megabyte of records must not be searched from the start for each of them.
  std::unordered_map<std::string, size_t> index_;
};

// Take the payload of an extended header. False when it is malformed.
bool parsePax(const std::string& bytes, PaxRecords& records);

}  // namespace imgfs

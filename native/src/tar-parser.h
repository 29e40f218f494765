// Reads a tar archive as its bytes arrive. Does byte for byte what src/layer/tar/ does; a property test compares them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace imgfs {

// Appends plain values to a buffer, in the byte order of the machine.
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

struct SparsePiece {
  uint64_t offset;
  uint64_t length;
};

// Records in the order in which their keys first came; the last value of a key counts.
class PaxRecords {
 public:
  void set(const std::string& key, const std::string& value);
  std::string get(const std::string& key) const;
  void clear();
  size_t size() const { return list_.size(); }
  auto begin() const { return list_.begin(); }
  auto end() const { return list_.end(); }

 private:
  std::vector<std::pair<std::string, std::string>> list_;
  // A megabyte of records must not be searched from the start for each of them.
  std::unordered_map<std::string, size_t> index_;
};

class TarParser {
 public:
  // Take bytes. False when the archive is malformed: `error` and `errorOffset` say how and where.
  bool feed(const uint8_t* data, size_t length);
  // The archive is over. False when it breaks off inside an entry.
  bool end();

  // Records of entries since the last `takeEntries`, in the form of src/layer/tar/entry-record.ts.
  std::vector<uint8_t> takeEntries();
  uint32_t entryCount() const { return entryCount_; }
  uint64_t offset() const { return offset_; }
  const std::string& error() const { return error_; }
  uint64_t errorOffset() const { return errorOffset_; }

  // Everything that is needed to go on at this point of the archive.
  void save(ByteWriter& writer) const;
  // False when the bytes are not such a state.
  bool restore(ByteReader& reader);

 private:
  enum class Phase : uint8_t { header, payload, oldMap, map, skip, zero, ended };

  struct Header {
    bool gnu = false;
    uint8_t typeFlag = 0;
    std::string path, linkPath;
    int64_t mode = 0, uid = 0, gid = 0, size = 0, mtime = 0, devMajor = 0, devMinor = 0;
  };

  struct Draft {
    uint8_t kind = 0;
    uint8_t typeFlag = 0;
    uint16_t mode = 0;
    uint32_t uid = 0, gid = 0, devMajor = 0, devMinor = 0;
    uint64_t size = 0, storedSize = 0, headerOffset = 0;
    int64_t mtimeNs = 0;
    std::string path, linkPath;
    PaxRecords xattrs;
    bool sparse = false;
    std::vector<SparsePiece> pieces;
  };

  struct Preceding {
    bool any = false;
    uint64_t headerOffset = 0;
    bool hasPax = false;
    PaxRecords pax;
    std::string longName, longLink;
  };

  // State of the reader for the decimal map of sparse format 1.0.
  struct MapState {
    bool hasExpected = false;
    uint64_t expected = 0;
    bool hasOffset = false;
    uint64_t offset = 0;
    std::string digits;
    uint64_t left = 0;
  };

  bool fail(const char* reason, uint64_t offset);
  bool takeBlock();
  bool takeHeader();
  bool startPayload(const Header& header, uint64_t start);
  bool takePayload();
  bool finishPayload();
  bool startOldMap(uint64_t start);
  bool takeOldMap();
  bool takeMap();
  bool emit(uint64_t storedSize);
  void startSkip(uint64_t size);
  bool parseHeader(Header& header, uint64_t start);
  bool startEntry(const Header& written, uint64_t start);
  bool applyRecord(const std::string& key, const std::string& value, Header& header, int64_t& mtimeNs);

  Phase phase_ = Phase::header;
  uint64_t offset_ = 0;
  uint8_t block_[512] = {};
  uint32_t blockFilled_ = 0;
  uint64_t skipData_ = 0;
  uint64_t skipPadding_ = 0;
  uint8_t payloadFlag_ = 0;
  uint64_t payloadSize_ = 0;
  std::string payload_;
  Preceding preceding_;
  Draft draft_;
  MapState map_;

  std::vector<uint8_t> entries_;
  uint32_t entryCount_ = 0;
  std::string error_;
  uint64_t errorOffset_ = 0;
};

}  // namespace imgfs

// Reads a tar archive as its bytes arrive. Does byte for byte what src/layer/tar/ does; a property test compares them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "../bytes.h"
#include "entry.h"
#include "header.h"
#include "pax.h"

namespace imgfs {

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

  struct Preceding {
    bool any = false;
    uint64_t headerOffset = 0;
    bool hasPax = false;
    PaxRecords pax;
    std::string longName, longLink;
  };

  struct SparseRecords {
    bool any = false;
    bool mapInData = false;
    std::optional<uint64_t> realSize;
    std::string name;
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
  bool startEntry(const Header& written, uint64_t start);
  bool readSparseRecords(SparseRecords& sparse, uint64_t start);
  void fillDraft(const Header& header, Kind kind, uint64_t size);
  bool applyRecord(const std::string& key, const std::string& value, Header& header, int64_t& mtimeNs);

  Phase phase_ = Phase::header;
  uint64_t offset_ = 0;
  uint8_t block_[kBlock] = {};
  uint32_t blockFilled_ = 0;
  uint64_t skipData_ = 0;
  uint64_t skipPadding_ = 0;
  uint8_t payloadFlag_ = 0;
  uint64_t payloadSize_ = 0;
  std::string payload_;
  Preceding preceding_;
  EntryDraft draft_;
  DecimalMap map_;

  std::vector<uint8_t> entries_;
  uint32_t entryCount_ = 0;
  std::string error_;
  uint64_t errorOffset_ = 0;
};

}  // namespace imgfs

// An entry of an archive as it takes shape, and the record of it that JavaScript reads.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "../bytes.h"
#include "pax.h"
#include "sparse.h"

namespace imgfs {

// As `entryKinds` in src/layer/tar/tar-entry.ts.
enum class Kind : uint8_t { file, directory, symlink, hardlink, character, block, fifo, other };

Kind kindOf(uint8_t typeFlag, const std::string& path);

struct EntryDraft {
  Kind kind = Kind::file;
  uint8_t typeFlag = 0;
  uint16_t mode = 0;
  uint32_t uid = 0, gid = 0, devMajor = 0, devMinor = 0;
  uint64_t size = 0, storedSize = 0, headerOffset = 0;
  int64_t mtimeNs = 0;
  std::string path, linkPath;
  PaxRecords xattrs;
  bool sparse = false;
  std::vector<SparsePiece> pieces;

  // Append the record, in the form of src/layer/tar/entry-record.ts; `dataOffset`: where the stored bytes begin.
  void writeRecord(std::vector<uint8_t>& into, uint64_t dataOffset, uint64_t dataSize) const;
  void save(ByteWriter& writer) const;
  void restore(ByteReader& reader);
};

}  // namespace imgfs

#include "entry.h"

#include <cstring>

namespace imgfs {

namespace {

constexpr uint32_t kNotSparse = 0xffffffff;

}  // namespace

Kind kindOf(uint8_t typeFlag, const std::string& path) {
  switch (typeFlag) {
    case 0: return !path.empty() && path.back() == '/' ? Kind::directory : Kind::file;
    case '0': case '7': case 'S': return Kind::file;
    case '1': return Kind::hardlink;
    case '2': return Kind::symlink;
    case '3': return Kind::character;
    case '4': return Kind::block;
    case '5': return Kind::directory;
    case '6': return Kind::fifo;
    default: return Kind::other;
  }
}

void EntryDraft::writeRecord(std::vector<uint8_t>& into, uint64_t dataOffset, uint64_t dataSize) const {
  const size_t start = into.size();
  ByteWriter writer(into);
  writer.value<uint32_t>(0);
  writer.value(kind);
  writer.value(typeFlag);
  writer.value(mode);
  for (const uint32_t value : {uid, gid, devMajor, devMinor}) writer.value(value);
  writer.value(static_cast<double>(size));
  writer.value(mtimeNs);
  writer.value(static_cast<double>(headerOffset));
  writer.value(static_cast<double>(dataOffset));
  writer.value(static_cast<double>(dataSize));
  writer.value(static_cast<uint32_t>(path.size()));
  writer.value(static_cast<uint32_t>(linkPath.size()));
  writer.value(static_cast<uint32_t>(xattrs.size()));
  writer.value(sparse ? static_cast<uint32_t>(pieces.size()) : kNotSparse);
  writer.raw(path.data(), path.size());
  writer.raw(linkPath.data(), linkPath.size());
  for (const auto& [name, value] : xattrs) {
    writer.value(static_cast<uint32_t>(name.size()));
    writer.value(static_cast<uint32_t>(value.size()));
    writer.raw(name.data(), name.size());
    writer.raw(value.data(), value.size());
  }
  for (const auto& piece : pieces) {
    writer.value(static_cast<double>(piece.offset));
    writer.value(static_cast<double>(piece.length));
  }
  const uint32_t length = static_cast<uint32_t>(into.size() - start);
  memcpy(into.data() + start, &length, sizeof length);
}

void EntryDraft::save(ByteWriter& writer) const {
  writer.value(kind);
  writer.value(typeFlag);
  writer.value(mode);
  for (const uint32_t value : {uid, gid, devMajor, devMinor}) writer.value(value);
  for (const uint64_t value : {size, storedSize, headerOffset}) writer.value(value);
  writer.value(mtimeNs);
  writer.text(path);
  writer.text(linkPath);
  xattrs.save(writer);
  writer.value(sparse);
  writer.value(static_cast<uint32_t>(pieces.size()));
  for (const auto& piece : pieces) writer.value(piece);
}

void EntryDraft::restore(ByteReader& reader) {
  kind = reader.value<Kind>();
  typeFlag = reader.value<uint8_t>();
  mode = reader.value<uint16_t>();
  for (uint32_t* value : {&uid, &gid, &devMajor, &devMinor}) *value = reader.value<uint32_t>();
  for (uint64_t* value : {&size, &storedSize, &headerOffset}) *value = reader.value<uint64_t>();
  mtimeNs = reader.value<int64_t>();
  path = reader.text();
  linkPath = reader.text();
  xattrs.restore(reader);
  sparse = reader.value<uint8_t>() != 0;
  for (auto left = reader.value<uint32_t>(); left > 0 && reader.ok(); --left) {
    pieces.push_back(reader.value<SparsePiece>());
  }
}

}  // namespace imgfs

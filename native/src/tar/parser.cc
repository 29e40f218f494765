#include "parser.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "numbers.h"

namespace imgfs {

namespace {

// As maxSpecialBytes in src/layer/tar/.
constexpr uint64_t kMaxSpecial = 1 << 20;
const char kXattrPrefix[] = "SCHILY.xattr.";
constexpr size_t kXattrPrefixLength = sizeof kXattrPrefix - 1;

}  // namespace

bool TarParser::fail(const char* reason, uint64_t offset) {
  error_ = reason;
  errorOffset_ = offset;
  return false;
}

bool TarParser::feed(const uint8_t* data, size_t length) {
  if (!error_.empty()) return false;
  while (length > 0) {
    size_t take = length;
    if (phase_ == Phase::skip) {
      const uint64_t fromData = std::min<uint64_t>(length, skipData_);
      const uint64_t fromPadding = std::min<uint64_t>(length - fromData, skipPadding_);
      skipData_ -= fromData;
      skipPadding_ -= fromPadding;
      take = fromData + fromPadding;
      if (skipData_ == 0 && skipPadding_ == 0) phase_ = Phase::header;
    } else if (phase_ != Phase::ended) {
      take = std::min<size_t>(length, kBlock - blockFilled_);
      memcpy(block_ + blockFilled_, data, take);
      blockFilled_ += static_cast<uint32_t>(take);
    }
    data += take;
    length -= take;
    offset_ += take;
    if (blockFilled_ == kBlock) {
      blockFilled_ = 0;
      if (!takeBlock()) return false;
    }
  }
  return true;
}

bool TarParser::end() {
  if (!error_.empty()) return false;
  if (blockFilled_ > 0 || phase_ == Phase::payload || phase_ == Phase::oldMap || phase_ == Phase::map) {
    return fail("archive breaks off inside a header", offset_);
  }
  if (phase_ == Phase::skip && skipData_ > 0) {
    return fail("archive breaks off inside the data of a file", offset_);
  }
  return true;
}

std::vector<uint8_t> TarParser::takeEntries() {
  std::vector<uint8_t> taken;
  taken.swap(entries_);
  entryCount_ = 0;
  return taken;
}

bool TarParser::takeBlock() {
  switch (phase_) {
    case Phase::header:
      if (!isZero(block_)) return takeHeader();
      phase_ = Phase::zero;
      return true;
    case Phase::zero:
      if (!isZero(block_)) return fail("one zero block, then more headers", offset_ - kBlock);
      phase_ = Phase::ended;
      return true;
    case Phase::payload: return takePayload();
    case Phase::oldMap: return takeOldMap();
    case Phase::map: return takeMap();
    default: return true;
  }
}

bool TarParser::takeHeader() {
  const uint64_t start = offset_ - kBlock;
  Header header;
  if (const char* reason = parseHeader(block_, header)) return fail(reason, start);
  switch (header.typeFlag) {
    case 'x': case 'L': case 'K': return startPayload(header, start);
    case 'g': {
      const auto size = safeCount(header.size);
      if (!size) return fail("size is negative or too large", start);
      preceding_ = Preceding();
      startSkip(*size);
      return true;
    }
    default: return startEntry(header, start);
  }
}

bool TarParser::startPayload(const Header& header, uint64_t start) {
  const auto size = safeCount(header.size);
  if (!size || *size > kMaxSpecial) return fail("extended header is longer than 1048576 bytes", start);
  if (!preceding_.any) {
    preceding_ = Preceding();
    preceding_.any = true;
    preceding_.headerOffset = start;
  }
  payloadFlag_ = header.typeFlag;
  payloadSize_ = *size;
  payload_.clear();
  phase_ = Phase::payload;
  return *size > 0 || finishPayload();
}

bool TarParser::takePayload() {
  const size_t take = std::min<uint64_t>(kBlock, payloadSize_ - payload_.size());
  payload_.append(reinterpret_cast<const char*>(block_), take);
  return payload_.size() < payloadSize_ || finishPayload();
}

bool TarParser::finishPayload() {
  if (payloadFlag_ == 'x') {
    preceding_.pax.clear();
    preceding_.hasPax = true;
    if (!parsePax(payload_, preceding_.pax)) return fail("extended header is malformed", offset_);
  } else {
    (payloadFlag_ == 'L' ? preceding_.longName : preceding_.longLink) = payload_.substr(0, payload_.find('\0'));
  }
  payload_.clear();
  phase_ = Phase::header;
  return true;
}

bool TarParser::applyRecord(const std::string& key, const std::string& value, Header& header, int64_t& mtimeNs) {
  if (value.empty()) return true;
  if (key.compare(0, kXattrPrefixLength, kXattrPrefix) == 0) {
    if (key.size() > kXattrPrefixLength) draft_.xattrs.set(key.substr(kXattrPrefixLength), value);
    return true;
  }
  std::optional<int64_t> number = 0;
  if (key == "path") {
    header.path = value;
  } else if (key == "linkpath") {
    header.linkPath = value;
  } else if (key == "mtime") {
    number = parsePaxTime(value);
    mtimeNs = number.value_or(0);
  } else if (key == "size" || key == "uid" || key == "gid") {
    number = parseDecimal(value);
    (key == "size" ? header.size : key == "uid" ? header.uid : header.gid) = number.value_or(0);
  }
  return number.has_value();
}

bool TarParser::startEntry(const Header& written, uint64_t start) {
  draft_ = EntryDraft();
  Header header = written;
  int64_t mtimeNs = clampNs(static_cast<__int128>(header.mtime) * 1'000'000'000);
  for (const auto& [key, value] : preceding_.pax) {
    if (!applyRecord(key, value, header, mtimeNs)) {
      return fail(("extended header holds a malformed " + key).c_str(), start);
    }
  }
  if (!preceding_.longName.empty()) header.path = preceding_.longName;
  if (!preceding_.longLink.empty()) header.linkPath = preceding_.longLink;

  const bool isOldSparse = header.typeFlag == 'S';
  SparseRecords sparse;
  if (preceding_.hasPax && !isOldSparse && !readSparseRecords(sparse, start)) return false;
  const auto size = safeCount(header.size);
  if (!size) return fail("size is negative or too large", start);
  const Kind kind = kindOf(header.typeFlag, header.path);
  if (sparse.any && kind != Kind::file) return fail("sparse map on an entry that is not a file", start);
  if (isOldSparse && !header.gnu) return fail("sparse entry outside a GNU archive", start);

  fillDraft(header, kind, *size);
  draft_.mtimeNs = mtimeNs;
  draft_.headerOffset = preceding_.any ? preceding_.headerOffset : start;
  draft_.sparse = isOldSparse || sparse.any;
  if (sparse.realSize && kind == Kind::file) draft_.size = *sparse.realSize;
  if (!sparse.name.empty()) draft_.path = sparse.name;
  preceding_ = Preceding();
  if (isOldSparse) return startOldMap(start);
  if (!sparse.mapInData) return emit(draft_.storedSize);
  if (draft_.storedSize < kBlock) return fail("sparse map is malformed", start);
  map_ = DecimalMap(draft_.storedSize);
  phase_ = Phase::map;
  return true;
}

// What the records of the extended header say about a sparse file in formats 0.0, 0.1 and 1.0.
bool TarParser::readSparseRecords(SparseRecords& sparse, uint64_t start) {
  const auto& pax = preceding_.pax;
  const std::string version = pax.get("GNU.sparse.major") + "." + pax.get("GNU.sparse.minor");
  const bool isMapHere =
      version == "0.0" || version == "0.1" || (version == "." && !pax.get("GNU.sparse.map").empty());
  sparse.mapInData = version == "1.0";
  sparse.any = isMapHere || sparse.mapInData;
  if (!sparse.any) return true;
  std::string size = pax.get("GNU.sparse.size");
  if (size.empty()) size = pax.get("GNU.sparse.realsize");
  if (!size.empty()) {
    sparse.realSize = safeCount(parseDecimal(size));
    if (!sparse.realSize) return fail("sparse file has a malformed size", start);
  }
  if (isMapHere && !parseMap(pax, draft_.pieces)) return fail("sparse map is malformed", start);
  sparse.name = pax.get("GNU.sparse.name");
  return true;
}

void TarParser::fillDraft(const Header& header, Kind kind, uint64_t size) {
  const bool isDevice = kind == Kind::character || kind == Kind::block;
  draft_.kind = kind;
  draft_.typeFlag = header.typeFlag;
  draft_.path = header.path;
  if (kind == Kind::symlink || kind == Kind::hardlink) draft_.linkPath = header.linkPath;
  draft_.mode = static_cast<uint16_t>(header.mode & 07777);
  draft_.uid = static_cast<uint32_t>(header.uid);
  draft_.gid = static_cast<uint32_t>(header.gid);
  draft_.size = kind == Kind::file ? size : 0;
  draft_.devMajor = isDevice ? static_cast<uint32_t>(header.devMajor) : 0;
  draft_.devMinor = isDevice ? static_cast<uint32_t>(header.devMinor) : 0;
  draft_.storedSize = kind == Kind::file || kind == Kind::other ? size : 0;
}

bool TarParser::startOldMap(uint64_t start) {
  const auto size = safeCount(parseNumber(block_ + 483, 12));
  if (!size || !readOldPieces(block_, 386, 4, draft_.pieces)) return fail("sparse map is malformed", start);
  draft_.size = *size;
  if (block_[482] == 0) return emit(draft_.storedSize);
  phase_ = Phase::oldMap;
  return true;
}

bool TarParser::takeOldMap() {
  const size_t before = draft_.pieces.size();
  if (!readOldPieces(block_, 0, 21, draft_.pieces) || draft_.pieces.size() > kMaxPieces) {
    return fail("sparse map is malformed", offset_);
  }
  if (draft_.pieces.size() == before && block_[504] != 0) return fail("sparse map is malformed", offset_);
  return block_[504] != 0 || emit(draft_.storedSize);
}

bool TarParser::takeMap() {
  switch (map_.takeBlock(block_, draft_.pieces)) {
    case DecimalMap::Result::more: return true;
    case DecimalMap::Result::done: return emit(map_.left());
    default: return fail("sparse map is malformed", offset_);
  }
}

bool TarParser::emit(uint64_t storedSize) {
  if (draft_.sparse && !isValidMap(draft_.pieces, draft_.size, storedSize)) {
    return fail("sparse map does not fit the file", offset_);
  }
  if (offset_ + storedSize + kBlock > static_cast<uint64_t>(kMaxSafeInteger)) {
    return fail("size is negative or too large", offset_);
  }
  draft_.writeRecord(entries_, offset_, storedSize);
  ++entryCount_;
  startSkip(storedSize);
  draft_ = EntryDraft();
  return true;
}

void TarParser::startSkip(uint64_t size) {
  skipData_ = size;
  skipPadding_ = (kBlock - size % kBlock) % kBlock;
  phase_ = size == 0 ? Phase::header : Phase::skip;
}

}  // namespace imgfs

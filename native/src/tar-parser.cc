#include "tar-parser.h"

#include <algorithm>
#include <cstring>

#include "tar-numbers.h"

namespace imgfs {

namespace {

constexpr size_t kBlock = 512;
// As maxSpecialBytes and maxSparsePieces in src/layer/tar/.
constexpr uint64_t kMaxSpecial = 1 << 20;
constexpr uint64_t kMaxPieces = 1 << 20;
constexpr uint32_t kNotSparse = 0xffffffff;

enum Kind : uint8_t { file, directory, symlink, hardlink, character, block, fifo, other };

bool isZero(const uint8_t* data) {
  return std::all_of(data, data + kBlock, [](uint8_t byte) { return byte == 0; });
}

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

enum class Format { v7, ustar, star, gnu };

Format formatOf(const uint8_t* data) {
  if (memcmp(data + 257, "ustar  \0", 8) == 0) return Format::gnu;
  if (memcmp(data + 257, "ustar\0", 6) != 0) return Format::v7;
  return memcmp(data + 508, "tar\0", 4) == 0 ? Format::star : Format::ustar;
}

// GNU archives have times where ustar has a prefix, except those written by Go before 1.8.
std::string prefixOf(const uint8_t* data, Format format) {
  if (format == Format::ustar) return textField(data, 345, 155);
  if (format == Format::star) return textField(data, 345, 131);
  if (format == Format::v7) return "";
  const auto isTime = [data](size_t at) { return data[at] == 0 || parseNumber(data + at, 12).has_value(); };
  if (isTime(345) && isTime(357)) return "";
  const std::string prefix = textField(data, 345, 155);
  const bool ascii = std::all_of(prefix.begin(), prefix.end(), [](char c) { return !(c & 0x80); });
  return ascii ? prefix : "";
}

Kind kindOf(uint8_t typeFlag, const std::string& path) {
  switch (typeFlag) {
    case 0: return !path.empty() && path.back() == '/' ? directory : file;
    case '0': case '7': case 'S': return file;
    case '1': return hardlink;
    case '2': return symlink;
    case '3': return character;
    case '4': return block;
    case '5': return directory;
    case '6': return fifo;
    default: return other;
  }
}

bool isTextKey(const std::string& key) {
  return key == "path" || key == "linkpath" || key == "uname" || key == "gname";
}

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

bool parseMap(const PaxRecords& records, std::vector<SparsePiece>& pieces) {
  const std::string map = records.get("GNU.sparse.map");
  const auto count = safeCount(parseDecimal(records.get("GNU.sparse.numblocks")));
  if (!count || *count > kMaxPieces) return false;
  const uint64_t numbers = map.empty() ? 0 : 1 + std::count(map.begin(), map.end(), ',');
  if (numbers != *count * 2) return false;
  size_t at = 0;
  const auto number = [&map, &at]() {
    const size_t comma = std::min(map.find(',', at), map.size());
    const auto value = safeCount(parseDecimal(map.substr(at, comma - at)));
    at = comma + 1;
    return value;
  };
  for (uint64_t index = 0; index < *count; ++index) {
    const auto offset = number();
    const auto length = number();
    if (!offset || !length) return false;
    pieces.push_back({*offset, *length});
  }
  return true;
}

bool readOldPieces(const uint8_t* data, size_t start, size_t count, std::vector<SparsePiece>& pieces) {
  for (size_t index = 0; index < count; ++index) {
    const uint8_t* at = data + start + index * 24;
    if (*at == 0) break;
    const auto offset = safeCount(parseNumber(at, 12));
    const auto length = safeCount(parseNumber(at + 12, 12));
    if (!offset || !length) return false;
    pieces.push_back({*offset, *length});
  }
  return true;
}

bool isValidMap(const std::vector<SparsePiece>& pieces, uint64_t size, uint64_t storedSize) {
  uint64_t end = 0, stored = 0;
  for (const auto& piece : pieces) {
    if (piece.offset < end || piece.offset + piece.length > size) return false;
    end = piece.offset + piece.length;
    stored += piece.length;
  }
  return stored == storedSize;
}

const char kXattrPrefix[] = "SCHILY.xattr.";
constexpr size_t kXattrPrefixLength = sizeof kXattrPrefix - 1;

}  // namespace

bool ByteReader::raw(void* into, size_t length) {
  if (!ok_ || length > length_ - at_) {
    ok_ = false;
    return false;
  }
  memcpy(into, data_ + at_, length);
  at_ += length;
  return true;
}

std::string ByteReader::text() {
  const auto length = value<uint32_t>();
  if (!ok_ || length > length_ - at_) {
    ok_ = false;
    return "";
  }
  std::string s(reinterpret_cast<const char*>(data_ + at_), length);
  at_ += length;
  return s;
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

bool TarParser::parseHeader(Header& header, uint64_t start) {
  if (!checksumMatches(block_)) return fail("header checksum does not match", start);
  const Format format = formatOf(block_);
  const auto mode = parseNumber(block_ + 100, 8);
  const auto uid = parseNumber(block_ + 108, 8);
  const auto gid = parseNumber(block_ + 116, 8);
  const auto size = parseNumber(block_ + 124, 12);
  const auto mtime = parseNumber(block_ + 136, 12);
  const bool hasDevice = format != Format::v7;
  const auto devMajor = hasDevice ? parseNumber(block_ + 329, 8) : 0;
  const auto devMinor = hasDevice ? parseNumber(block_ + 337, 8) : 0;
  if (!mode || !uid || !gid || !size || !mtime || !devMajor || !devMinor) {
    return fail("header holds a malformed number", start);
  }
  const std::string prefix = prefixOf(block_, format);
  header.gnu = format == Format::gnu;
  header.typeFlag = block_[156];
  header.path = (prefix.empty() ? prefix : prefix + "/") + textField(block_, 0, 100);
  header.linkPath = textField(block_, 157, 100);
  header.mode = *mode;
  header.uid = *uid;
  header.gid = *gid;
  header.size = *size;
  header.mtime = *mtime;
  header.devMajor = *devMajor;
  header.devMinor = *devMinor;
  return true;
}

bool TarParser::takeHeader() {
  const uint64_t start = offset_ - kBlock;
  Header header;
  if (!parseHeader(header, start)) return false;
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
  draft_ = Draft();
  Header header = written;
  int64_t mtimeNs = clampNs(static_cast<__int128>(header.mtime) * 1'000'000'000);
  for (const auto& [key, value] : preceding_.pax) {
    if (!applyRecord(key, value, header, mtimeNs)) {
      return fail(("extended header holds a malformed " + key).c_str(), start);
    }
  }
  if (!preceding_.longName.empty()) header.path = preceding_.longName;
  if (!preceding_.longLink.empty()) header.linkPath = preceding_.longLink;

  const bool oldSparse = header.typeFlag == 'S';
  bool paxSparse = false, mapInData = false;
  std::optional<uint64_t> realSize;
  std::string sparseName;
  if (preceding_.hasPax && !oldSparse) {
    const auto& pax = preceding_.pax;
    const std::string version = pax.get("GNU.sparse.major") + "." + pax.get("GNU.sparse.minor");
    const bool old =
        version == "0.0" || version == "0.1" || (version == "." && !pax.get("GNU.sparse.map").empty());
    mapInData = version == "1.0";
    paxSparse = old || mapInData;
    if (paxSparse) {
      std::string size = pax.get("GNU.sparse.size");
      if (size.empty()) size = pax.get("GNU.sparse.realsize");
      if (!size.empty()) {
        realSize = safeCount(parseDecimal(size));
        if (!realSize) return fail("sparse file has a malformed size", start);
      }
      if (old && !parseMap(pax, draft_.pieces)) return fail("sparse map is malformed", start);
      sparseName = pax.get("GNU.sparse.name");
    }
  }

  const auto size = safeCount(header.size);
  if (!size) return fail("size is negative or too large", start);
  const Kind kind = kindOf(header.typeFlag, header.path);
  if (paxSparse && kind != file) return fail("sparse map on an entry that is not a file", start);
  if (oldSparse && !header.gnu) return fail("sparse entry outside a GNU archive", start);
  const bool device = kind == character || kind == block;
  draft_.kind = kind;
  draft_.typeFlag = header.typeFlag;
  draft_.path = sparseName.empty() ? header.path : sparseName;
  if (kind == symlink || kind == hardlink) draft_.linkPath = header.linkPath;
  draft_.mode = static_cast<uint16_t>(header.mode & 07777);
  draft_.uid = static_cast<uint32_t>(header.uid);
  draft_.gid = static_cast<uint32_t>(header.gid);
  draft_.size = kind == file ? realSize.value_or(*size) : 0;
  draft_.mtimeNs = mtimeNs;
  draft_.devMajor = device ? static_cast<uint32_t>(header.devMajor) : 0;
  draft_.devMinor = device ? static_cast<uint32_t>(header.devMinor) : 0;
  draft_.headerOffset = preceding_.any ? preceding_.headerOffset : start;
  draft_.storedSize = kind == file || kind == other ? *size : 0;
  draft_.sparse = oldSparse || paxSparse;
  preceding_ = Preceding();
  if (oldSparse) return startOldMap(start);
  if (!mapInData) return emit(draft_.storedSize);
  if (draft_.storedSize < kBlock) return fail("sparse map is malformed", start);
  map_ = MapState();
  map_.left = draft_.storedSize;
  phase_ = Phase::map;
  return true;
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
  map_.left -= kBlock;
  for (const uint8_t byte : block_) {
    if (byte != '\n') {
      if (byte < '0' || byte > '9' || map_.digits.size() > 18) return fail("sparse map is malformed", offset_);
      map_.digits += static_cast<char>(byte);
      continue;
    }
    const auto number = safeCount(parseDecimal(map_.digits));
    if (!number) return fail("sparse map is malformed", offset_);
    map_.digits.clear();
    if (!map_.hasExpected) {
      if (*number > kMaxPieces) return fail("sparse map is malformed", offset_);
      map_.hasExpected = true;
      map_.expected = *number;
    } else if (!map_.hasOffset) {
      map_.hasOffset = true;
      map_.offset = *number;
    } else {
      draft_.pieces.push_back({map_.offset, *number});
      map_.hasOffset = false;
    }
    if (draft_.pieces.size() == map_.expected) return emit(map_.left);
  }
  if (map_.left < kBlock) return fail("sparse map is malformed", offset_);
  return true;
}

bool TarParser::emit(uint64_t storedSize) {
  if (draft_.sparse && !isValidMap(draft_.pieces, draft_.size, storedSize)) {
    return fail("sparse map does not fit the file", offset_);
  }
  if (offset_ + storedSize + kBlock > static_cast<uint64_t>(kMaxSafeInteger)) {
    return fail("size is negative or too large", offset_);
  }
  const size_t start = entries_.size();
  ByteWriter writer(entries_);
  writer.value<uint32_t>(0);
  writer.value(draft_.kind);
  writer.value(draft_.typeFlag);
  writer.value(draft_.mode);
  for (const uint32_t value : {draft_.uid, draft_.gid, draft_.devMajor, draft_.devMinor}) writer.value(value);
  writer.value(static_cast<double>(draft_.size));
  writer.value(draft_.mtimeNs);
  writer.value(static_cast<double>(draft_.headerOffset));
  writer.value(static_cast<double>(offset_));
  writer.value(static_cast<double>(storedSize));
  writer.value(static_cast<uint32_t>(draft_.path.size()));
  writer.value(static_cast<uint32_t>(draft_.linkPath.size()));
  writer.value(static_cast<uint32_t>(draft_.xattrs.size()));
  writer.value(draft_.sparse ? static_cast<uint32_t>(draft_.pieces.size()) : kNotSparse);
  writer.raw(draft_.path.data(), draft_.path.size());
  writer.raw(draft_.linkPath.data(), draft_.linkPath.size());
  for (const auto& [name, value] : draft_.xattrs) {
    writer.value(static_cast<uint32_t>(name.size()));
    writer.value(static_cast<uint32_t>(value.size()));
    writer.raw(name.data(), name.size());
    writer.raw(value.data(), value.size());
  }
  for (const auto& piece : draft_.pieces) {
    writer.value(static_cast<double>(piece.offset));
    writer.value(static_cast<double>(piece.length));
  }
  const uint32_t length = static_cast<uint32_t>(entries_.size() - start);
  memcpy(entries_.data() + start, &length, sizeof length);
  ++entryCount_;
  startSkip(storedSize);
  draft_ = Draft();
  return true;
}

void TarParser::startSkip(uint64_t size) {
  skipData_ = size;
  skipPadding_ = (kBlock - size % kBlock) % kBlock;
  phase_ = size == 0 ? Phase::header : Phase::skip;
}

void TarParser::save(ByteWriter& writer) const {
  writer.value(phase_);
  writer.value(offset_);
  writer.value(blockFilled_);
  writer.raw(block_, blockFilled_);
  writer.value(skipData_);
  writer.value(skipPadding_);
  writer.value(payloadFlag_);
  writer.value(payloadSize_);
  writer.text(payload_);
  writer.value(preceding_.any);
  writer.value(preceding_.headerOffset);
  writer.value(preceding_.hasPax);
  writer.text(preceding_.longName);
  writer.text(preceding_.longLink);
  const auto records = [&writer](const PaxRecords& list) {
    writer.value(static_cast<uint32_t>(list.size()));
    for (const auto& [key, value] : list) {
      writer.text(key);
      writer.text(value);
    }
  };
  records(preceding_.pax);
  writer.value(draft_.kind);
  writer.value(draft_.typeFlag);
  writer.value(draft_.mode);
  for (const uint32_t value : {draft_.uid, draft_.gid, draft_.devMajor, draft_.devMinor}) writer.value(value);
  for (const uint64_t value : {draft_.size, draft_.storedSize, draft_.headerOffset}) writer.value(value);
  writer.value(draft_.mtimeNs);
  writer.text(draft_.path);
  writer.text(draft_.linkPath);
  records(draft_.xattrs);
  writer.value(draft_.sparse);
  writer.value(static_cast<uint32_t>(draft_.pieces.size()));
  for (const auto& piece : draft_.pieces) writer.value(piece);
  writer.value(map_.hasExpected);
  writer.value(map_.expected);
  writer.value(map_.hasOffset);
  writer.value(map_.offset);
  writer.text(map_.digits);
  writer.value(map_.left);
}

bool TarParser::restore(ByteReader& reader) {
  *this = TarParser();
  phase_ = reader.value<Phase>();
  offset_ = reader.value<uint64_t>();
  blockFilled_ = reader.value<uint32_t>();
  if (phase_ > Phase::ended || blockFilled_ >= kBlock) return false;
  reader.raw(block_, blockFilled_);
  skipData_ = reader.value<uint64_t>();
  skipPadding_ = reader.value<uint64_t>();
  payloadFlag_ = reader.value<uint8_t>();
  payloadSize_ = reader.value<uint64_t>();
  payload_ = reader.text();
  preceding_.any = reader.value<uint8_t>() != 0;
  preceding_.headerOffset = reader.value<uint64_t>();
  preceding_.hasPax = reader.value<uint8_t>() != 0;
  preceding_.longName = reader.text();
  preceding_.longLink = reader.text();
  const auto records = [&reader](PaxRecords& list) {
    for (auto left = reader.value<uint32_t>(); left > 0 && reader.ok(); --left) {
      const std::string key = reader.text();
      list.set(key, reader.text());
    }
  };
  records(preceding_.pax);
  draft_.kind = reader.value<uint8_t>();
  draft_.typeFlag = reader.value<uint8_t>();
  draft_.mode = reader.value<uint16_t>();
  for (uint32_t* value : {&draft_.uid, &draft_.gid, &draft_.devMajor, &draft_.devMinor}) {
    *value = reader.value<uint32_t>();
  }
  for (uint64_t* value : {&draft_.size, &draft_.storedSize, &draft_.headerOffset}) *value = reader.value<uint64_t>();
  draft_.mtimeNs = reader.value<int64_t>();
  draft_.path = reader.text();
  draft_.linkPath = reader.text();
  records(draft_.xattrs);
  draft_.sparse = reader.value<uint8_t>() != 0;
  for (auto left = reader.value<uint32_t>(); left > 0 && reader.ok(); --left) {
    draft_.pieces.push_back(reader.value<SparsePiece>());
  }
  map_.hasExpected = reader.value<uint8_t>() != 0;
  map_.expected = reader.value<uint64_t>();
  map_.hasOffset = reader.value<uint8_t>() != 0;
  map_.offset = reader.value<uint64_t>();
  map_.digits = reader.text();
  map_.left = reader.value<uint64_t>();
  return reader.ok() && payload_.size() <= payloadSize_;
}

}  // namespace imgfs

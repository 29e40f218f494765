// Archives and compressed forms of them, for tests of the layer code.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "../src/decoder.h"

namespace imgfs {

inline const uint8_t* bytesOf(const std::string& text) { return reinterpret_cast<const uint8_t*>(text.data()); }

// One header block with its checksum.
inline std::string tarHeader(const std::string& name, uint64_t size, char type = '0') {
  std::string block(512, '\0');
  const auto put = [&block](size_t at, const std::string& text) { block.replace(at, text.size(), text); };
  char number[16];
  put(0, name.substr(0, 100));
  put(100, "0000644");
  put(108, "0001750");
  put(116, "0000144");
  std::snprintf(number, sizeof number, "%011llo", static_cast<unsigned long long>(size));
  put(124, number);
  put(136, "14525033300");
  put(148, "        ");
  block[156] = type;
  put(257, type == 'S' ? std::string("ustar  \0", 8) : std::string("ustar\00000", 8));
  unsigned sum = 0;
  for (const char byte : block) sum += static_cast<uint8_t>(byte);
  std::snprintf(number, sizeof number, "%06o", sum);
  put(148, std::string(number) + '\0' + ' ');
  return block;
}

inline std::string tarEntry(const std::string& name, const std::string& data, char type = '0') {
  std::string entry = tarHeader(name, data.size(), type) + data;
  entry.resize((entry.size() + 511) / 512 * 512, '\0');
  return entry;
}

inline std::string paxRecord(const std::string& key, const std::string& value) {
  const size_t bare = key.size() + value.size() + 3;
  size_t length = bare + std::to_string(bare).size();
  length = bare + std::to_string(length).size();
  return std::to_string(length) + ' ' + key + '=' + value + '\n';
}

// Words in no order: compresses about 3 to 1 and refers back all the time.
inline std::string sampleText(size_t length, uint32_t seed) {
  std::string text;
  while (text.size() < length) {
    seed = seed * 1664525 + 1013904223;
    char word[16];
    std::snprintf(word, sizeof word, "%x ", (seed >> 16) % 5000);
    text += word;
  }
  text.resize(length);
  return text;
}

// Every kind of payload a parser holds on to: pax records, long names, each sparse format; then ordinary files.
inline std::string sampleArchive(size_t files) {
  std::string archive;
  archive += tarEntry("pax", paxRecord("path", "dir/" + std::string(300, 'n')) +
                                 paxRecord("mtime", "1500000000.123456789") +
                                 paxRecord("SCHILY.xattr.user.note", std::string("a\0b", 3)), 'x');
  archive += tarEntry("short", "content");
  archive += tarEntry("././@LongLink", std::string(600, 'l') + '\0', 'L');
  archive += tarEntry("short", "more");
  archive += tarEntry("pax", paxRecord("GNU.sparse.major", "1") + paxRecord("GNU.sparse.minor", "0") +
                                 paxRecord("GNU.sparse.name", "sparse") +
                                 paxRecord("GNU.sparse.realsize", "100000"), 'x');
  std::string map = "2\n4096\n512\n99488\n512\n";
  map.resize(512, '\0');
  archive += tarEntry("GNUSparseFile.0/sparse", map + std::string(1024, 's'));
  archive += tarEntry("pax", paxRecord("GNU.sparse.map", "0,512,1024,512") + paxRecord("GNU.sparse.numblocks", "2") +
                                 paxRecord("GNU.sparse.size", "2048"), 'x');
  archive += tarEntry("older", std::string(1024, 's'));
  for (size_t index = 0; index < files; ++index) {
    archive += tarEntry("files/" + std::to_string(index), sampleText(index * 977 % 60000, static_cast<uint32_t>(index)));
  }
  archive.append(1024, '\0');
  return archive;
}

// A gzip stream; several members when `memberBytes` is less than all.
inline std::string gzipBytes(const std::string& bytes, int level, size_t memberBytes = SIZE_MAX) {
  std::string out;
  for (size_t at = 0; at < bytes.size() || at == 0;) {
    const size_t take = std::min(memberBytes, bytes.size() - at);
    z_stream stream = {};
    if (deflateInit2(&stream, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) return "";
    std::string member(deflateBound(&stream, static_cast<uLong>(take)) + 64, '\0');
    stream.next_in = const_cast<uint8_t*>(bytesOf(bytes) + at);
    stream.avail_in = static_cast<uInt>(take);
    stream.next_out = reinterpret_cast<uint8_t*>(&member[0]);
    stream.avail_out = static_cast<uInt>(member.size());
    deflate(&stream, Z_FINISH);
    member.resize(member.size() - stream.avail_out);
    deflateEnd(&stream);
    out += member;
    at += take;
    if (take == 0) break;
  }
  return out;
}

}  // namespace imgfs

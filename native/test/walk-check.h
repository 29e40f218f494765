// What must hold of every walk over headers, whatever the archive.
#pragma once

#include <cstring>
#include <string>

#include "../src/tar/header-walk.h"
#include "memory-file.h"

// What is wrong with `walk` over these bytes; nullptr when nothing is.
inline const char* wrongWalk(const std::string& archive, const imgfs::HeaderWalk& walk) {
  if (walk.error != 0) return "a read failed";
  double end = 0;
  size_t at = 0;
  for (const imgfs::HeaderWindow& window : walk.windows) {
    if (window.length <= 0 || window.offset < end) return "windows overlap";
    end = window.offset + window.length;
    if (end > static_cast<double>(archive.size())) return "a window reaches beyond the archive";
    const auto length = static_cast<size_t>(window.length);
    if (at + length > walk.bytes.size()) return "bytes of a window are missing";
    if (std::memcmp(walk.bytes.data() + at, archive.data() + static_cast<size_t>(window.offset), length) != 0) {
      return "a window has other bytes";
    }
    at += length;
  }
  if (at != walk.bytes.size()) return "bytes of no window";
  size_t texts = 0;
  for (const char byte : walk.names) texts += byte == 0;
  if (texts != 2 * walk.headers.size()) return "a header without its names";
  for (const imgfs::FoundHeader& header : walk.headers) {
    const auto content = static_cast<size_t>(header.offset) + 512;
    const auto known = static_cast<size_t>(header.headBytes);
    if (content + known > archive.size()) return "a header beyond the archive";
    if (std::memcmp(header.head, archive.data() + content, known) != 0) return "a head with other bytes";
  }
  return nullptr;
}

// The same of a whole walk, of one in the smallest steps, and that both find the same headers.
inline const char* wrongWalks(const std::string& archive) {
  const MemoryFile file(archive);
  const imgfs::HeaderWalk whole = imgfs::walkHeaders(file.fd(), 0, archive.size(), 1'000'000);
  if (const char* wrong = wrongWalk(archive, whole)) return wrong;
  std::string names;
  size_t headers = 0;
  double next = 0;
  while (next >= 0) {
    const imgfs::HeaderWalk step =
        imgfs::walkHeaders(file.fd(), static_cast<uint64_t>(next), archive.size(), 0);
    if (const char* wrong = wrongWalk(archive, step)) return wrong;
    if (step.next >= 0 && step.next <= next) return "a walk that does not go on";
    names += step.names;
    headers += step.headers.size();
    next = step.next;
  }
  std::string partNames;
  size_t partHeaders = 0;
  double expected = 0;
  const char* wrong = nullptr;
  bool isEnded = false;
  imgfs::walkHeadersInParts(file.fd(), 0, archive.size(), 1'000'000, [&](imgfs::HeaderWalk&& part) {
    if (const char* bad = wrongWalk(archive, part)) wrong = bad;
    if (isEnded) wrong = "a part behind the last";
    if (!part.headers.empty() && part.headers[0].offset != expected) wrong = "a part that begins elsewhere";
    if (!part.endBytes.empty() &&
        archive.compare(static_cast<size_t>(part.endOffset), std::string::npos,
                        std::string(part.endBytes.begin(), part.endBytes.end())) != 0) {
      wrong = "another end";
    }
    if (!part.isLast) expected = part.next;
    isEnded = part.isLast;
    partNames += part.names;
    partHeaders += part.headers.size();
  });
  if (wrong != nullptr) return wrong;
  if (!isEnded) return "no last part";
  if (whole.next < 0 && (partHeaders != whole.headers.size() || partNames != whole.names)) {
    return "parts find other headers";
  }
  if (whole.next < 0 && (headers != whole.headers.size() || names != whole.names)) return "steps find other headers";
  return nullptr;
}

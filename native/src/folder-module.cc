// Listing a folder of the cache without holding JavaScript up: src/addon/folder-addon.ts has the types.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "fuse/napi-values.h"
#include "modules.h"
#include "tagged-external.h"

namespace imgfs {

namespace {

struct Entry {
  std::string name;
  double bytes = 0;   // on disk
  double usedMs = 0;  // since the epoch
};

using Listing = std::vector<Entry>;

constexpr napi_type_tag kListingTag = {0x5d3f8a1be6274c90, 0xb07e42d91ac85f36};

struct CloseFolder {
  void operator()(DIR* folder) const { closedir(folder); }
};
using Folder = std::unique_ptr<DIR, CloseFolder>;

double onDisk(const struct stat& status) { return static_cast<double>(status.st_blocks) * 512; }

double milliseconds(const timespec& time) {
  return static_cast<double>(time.tv_sec) * 1000 + static_cast<double>(time.tv_nsec) / 1e6;
}

bool isDots(const char* name) { return std::strcmp(name, ".") == 0 || std::strcmp(name, "..") == 0; }

// Adds the files of a folder. Reading one touches its time of access: only the files say when it was used. False when
// something of it vanished meanwhile.
bool addFiles(int parent, Entry& entry) {
  const int fd = openat(parent, entry.name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return false;
  const Folder folder(fdopendir(fd));
  if (!folder) {
    close(fd);
    return false;
  }
  entry.usedMs = 0;
  while (const dirent* child = readdir(folder.get())) {
    if (isDots(child->d_name)) continue;
    struct stat status {};
    if (fstatat(fd, child->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0) return false;
    entry.bytes += onDisk(status);
    entry.usedMs = std::max(entry.usedMs, milliseconds(status.st_mtim));
  }
  return true;
}

// The entry used longest ago first. A folder that is not there has none.
Listing listFolder(const std::string& path) {
  Listing listing;
  const Folder folder(opendir(path.c_str()));
  if (!folder) return listing;
  const int fd = dirfd(folder.get());
  while (const dirent* found = readdir(folder.get())) {
    if (isDots(found->d_name) || std::strchr(found->d_name, '\n') != nullptr) continue;
    struct stat status {};
    if (fstatat(fd, found->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
    Entry entry{found->d_name, onDisk(status), std::max(milliseconds(status.st_atim), milliseconds(status.st_mtim))};
    if (S_ISDIR(status.st_mode) && !addFiles(fd, entry)) continue;
    listing.push_back(std::move(entry));
  }
  std::stable_sort(listing.begin(), listing.end(),
                   [](const Entry& a, const Entry& b) { return a.usedMs < b.usedMs; });
  return listing;
}

// list(path) -> promise of a listing, for `count` and `part`.
napi_value list(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value path = nullptr;
  napi_get_cb_info(env, info, &count, &path, nullptr, nullptr);
  if (count < 1) return fuse::fail(env, "list takes a path");
  auto listing = std::make_shared<std::unique_ptr<Listing>>();
  return fuse::promise(
      env, "imgfs.list", [listing, path = fuse::textOf(env, path)] { *listing = std::make_unique<Listing>(listFolder(path)); },
      [listing](napi_env env) { return externalFor(env, std::move(*listing), kListingTag); });
}

// count(listing) -> number of entries.
napi_value countOf(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value value = nullptr;
  napi_get_cb_info(env, info, &count, &value, nullptr, nullptr);
  const Listing* listing = externalOf<Listing>(env, value, kListingTag);
  if (listing == nullptr) return fuse::fail(env, "count takes a listing");
  return fuse::toNumber(env, static_cast<double>(listing->size()));
}

// part(listing, from, count) -> {names, bytes, usedMs} of as many entries from number `from` on as there are.
napi_value part(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value values[3] = {};
  napi_get_cb_info(env, info, &count, values, nullptr, nullptr);
  const Listing* listing = count < 3 ? nullptr : externalOf<Listing>(env, values[0], kListingTag);
  if (listing == nullptr) return fuse::fail(env, "part takes a listing and two numbers");
  const size_t from = std::min<size_t>(fuse::wholeOf(env, values[1]), listing->size());
  const size_t length = std::min<size_t>(fuse::wholeOf(env, values[2]), listing->size() - from);
  std::vector<double> bytes, usedMs;
  std::string names;
  for (size_t i = 0; i < length; ++i) {
    const Entry& entry = (*listing)[from + i];
    if (i > 0) names += '\n';
    names += entry.name;
    bytes.push_back(entry.bytes);
    usedMs.push_back(entry.usedMs);
  }
  napi_value out = nullptr;
  napi_create_object(env, &out);
  napi_set_named_property(env, out, "names", fuse::toText(env, names));
  napi_set_named_property(env, out, "bytes", fuse::doubles(env, bytes));
  napi_set_named_property(env, out, "usedMs", fuse::doubles(env, usedMs));
  return out;
}

}  // namespace

void registerFolder(napi_env env, napi_value exports) {
  napi_value module = nullptr;
  if (napi_create_object(env, &module) != napi_ok) return;
  fuse::setMethods(env, module, {{"list", list}, {"count", countOf}, {"part", part}}, nullptr);
  napi_set_named_property(env, exports, "folder", module);
}

}  // namespace imgfs

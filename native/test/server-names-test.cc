// Names and listings: what is answered without JavaScript, and lookups given back.
#include <errno.h>

#include "check.h"
#include "fake-kernel.h"

using namespace imgfs::fuse;

namespace {

constexpr uint32_t kFile = 0100644, kDirectory = 0040755;

}  // namespace

TEST(forgetGivesBack, "FORGET gives back exactly what JavaScript counted") {
  Rig rig;
  for (int i = 0; i < 3; ++i) rig.lookup("a", 7, kFile, 10);
  rig.send(kForget, 7, raw(ForgetIn{2}));
  CHECK_EQUAL(rig.job().kind, 0u);
  rig.send(kBatchForget, 0, raw(BatchForgetIn{1, 0}) + raw(ForgetOne{7, 1}));
  Job job = rig.job();
  CHECK(job.kind == kForget && job.nodeid == 7 && job.a == 3);
  CHECK_EQUAL(rig.server.gauges().inodes, 0);
}

TEST(lostLookup, "a lookup that the kernel did not take is given back") {
  Rig rig;
  rig.send(kLookup, kRootNode, text("a"));
  Job job = rig.job();
  rig.channel.refuse(ENOENT);
  CHECK(rig.server.replyEntry(job.id, unpacked(packEntry(7, kFile, 1))));
  Job back = rig.job();
  CHECK(back.kind == kForget && back.nodeid == 7 && back.a == 1);
  CHECK(!rig.server.replyEntry(job.id, unpacked(packEntry(7, kFile, 1))));
}

TEST(hugeForget, "a FORGET of more than was given is no underflow") {
  Rig rig;
  rig.lookup("a", 7, kFile, 10);
  rig.send(kForget, 7, raw(ForgetIn{~0ull}));
  CHECK(rig.job().kind == kForget);
  rig.send(kForget, 7, raw(ForgetIn{~0ull}));
  CHECK_EQUAL(rig.job().kind, 0u);
}

TEST(putListing, "a listing that JavaScript hands over answers names, and is taken once") {
  Rig rig;
  rig.lookup("dir", 2, kDirectory, 0);
  std::string page;
  for (uint64_t i = 0; i < 20; ++i) page += packEntry(100 + i, kFile, i, "file" + std::to_string(i), i + 1);
  auto put = [&](uint64_t directory, const std::string& bytes) {
    return rig.server.putListing(directory, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  };
  CHECK(!put(3, page));  // the kernel does not know it
  CHECK(put(2, page));
  CHECK(!put(2, page));
  rig.send(kLookup, 2, text("file7"));
  CHECK_EQUAL(rig.body<EntryOut>().nodeid, 107u);
  rig.send(kLookup, 2, text("absent"));
  CHECK_EQUAL(rig.body<EntryOut>().nodeid, 0u);
  CHECK_EQUAL(rig.job().kind, 0u);
  // All is given back when it goes.
  rig.send(kForget, 107, raw(ForgetIn{1}));
  rig.server.expireEntry(2);
  for (int i = 0; i < 20; ++i) CHECK_EQUAL(rig.job().kind, static_cast<uint32_t>(kForget));
  CHECK_EQUAL(rig.job().kind, 0u);
  // A malformed one leaves nothing behind.
  CHECK(put(2, page.substr(0, page.size() - 8)));
  for (int i = 0; i < 19; ++i) CHECK_EQUAL(rig.job().kind, static_cast<uint32_t>(kForget));
  CHECK_EQUAL(rig.server.gauges().listed, 0);
}

TEST(completeDirectory, "a complete directory answers names, listings and absent names alone") {
  Rig rig;
  rig.lookup("dir", 2, kDirectory, 0);
  rig.send(kOpendir, 2, raw(OpenIn{}));
  rig.server.replyOpendir(rig.job().id, 99, true, true);
  uint64_t fh = rig.body<OpenOut>().fh;
  std::string first, second;
  for (uint64_t i = 0; i < 20; ++i)
    (i < 10 ? first : second) += packEntry(100 + i, kFile, i, "file" + std::to_string(i), i + 1);
  std::vector<std::string> names;
  uint64_t offset = 0;
  for (int page = 0; page < 100; ++page) {
    rig.send(kReaddirplus, 2, raw(readIn(fh, offset, 1000)));
    Job job = rig.job();
    if (job.kind == kReaddir) {
      CHECK_EQUAL(job.a, 99u);
      const std::string& bytes = job.cookie == 0 ? first : second;
      CHECK(rig.server.replyReaddir(job.id, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), job.cookie != 0));
    }
    std::string body = rig.reply().body;
    if (body.empty()) break;
    for (size_t at = 0; at < body.size();) {
      Dirent entry;
      std::memcpy(&entry, body.data() + at + sizeof(EntryOut), sizeof(entry));
      names.push_back(body.substr(at + sizeof(EntryOut) + sizeof(Dirent), entry.namelen));
      offset = entry.off;
      at += alignRecord(sizeof(EntryOut) + sizeof(Dirent) + entry.namelen);
    }
  }
  CHECK_EQUAL(names.size(), 22);
  CHECK(names[0] == "." && names[1] == ".." && names[2] == "file0" && names[21] == "file19");
  rig.send(kLookup, 2, text("file7"));
  CHECK_EQUAL(rig.body<EntryOut>().nodeid, 107u);
  rig.send(kLookup, 2, text("absent"));
  EntryOut negative = rig.body<EntryOut>();
  CHECK(negative.nodeid == 0 && negative.entryValid > 0);
  rig.send(kGetattr, 107, std::string(16, '\0'));
  CHECK_EQUAL(rig.body<AttrOut>().attr.size, 7u);
  rig.send(kOpendir, 2, raw(OpenIn{}));
  CHECK(rig.body<OpenOut>().fh != fh);
  CHECK_EQUAL(rig.job().kind, 0u);

  // Forgotten by the kernel, still held by the listing; given back when the listing goes.
  rig.send(kForget, 107, raw(ForgetIn{2}));
  CHECK_EQUAL(rig.job().kind, 0u);
  rig.server.expireEntry(2);
  ReleaseIn release{};
  release.fh = fh;
  rig.send(kReleasedir, 2, raw(release));
  CHECK_EQUAL(rig.job().kind, static_cast<uint32_t>(kReleasedir));
  release.fh += 1;
  rig.send(kReleasedir, 2, raw(release));
  Job back = rig.job();
  CHECK(back.kind == kForget && back.nodeid == 107 && back.a == 1);
}

TEST(badPage, "a malformed page is EIO and leaves nothing behind") {
  Rig rig;
  rig.lookup("dir", 2, kDirectory, 0);
  rig.send(kOpendir, 2, raw(OpenIn{}));
  rig.server.replyOpendir(rig.job().id, 99, true, true);
  uint64_t fh = rig.body<OpenOut>().fh;
  for (std::string name : {"a/b", ""}) {
    rig.send(kReaddir, 2, raw(readIn(fh, 0, 1000)));
    std::string page = packEntry(50, kFile, 0, "good", 1) + packEntry(51, kFile, 0, name, 2);
    rig.server.replyReaddir(rig.job().id, reinterpret_cast<const uint8_t*>(page.data()), page.size(), true);
    CHECK_EQUAL(rig.reply().error, EIO);
    Job back = rig.job();
    CHECK(back.kind == kForget && back.nodeid == 50);
    while (rig.job().kind != 0) {
    }
  }
}

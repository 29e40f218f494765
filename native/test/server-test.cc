// The Server against a played kernel and a played JavaScript.
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "check.h"
#include "fake-kernel.h"

using namespace imgfs::fuse;

namespace {

constexpr uint32_t kFile = 0100644, kDirectory = 0040755;

ReadIn readIn(uint64_t fh, uint64_t offset, uint32_t size) {
  ReadIn in{};
  in.fh = fh;
  in.offset = offset;
  in.size = size;
  return in;
}

uint64_t openFile(Rig& rig, uint64_t ino, const OpenAnswer& answer, uint32_t* flags = nullptr, int32_t* backing = nullptr) {
  rig.send(kOpen, ino, raw(OpenIn{O_RDONLY, 0}));
  Job job = rig.job();
  while (job.kind == kRelease) job = rig.job();  // of handles closed before
  if (job.kind == kOpen) rig.server.replyOpen(job.id, answer);
  OpenOut out = rig.body<OpenOut>();
  if (flags != nullptr) *flags = out.openFlags;
  if (backing != nullptr) *backing = out.backingId;
  return out.fh;
}

void closeFile(Rig& rig, uint64_t ino, uint64_t fh) {
  ReleaseIn in{};
  in.fh = fh;
  rig.send(kRelease, ino, raw(in));
  CHECK_EQUAL(rig.reply().error, 0);
}

}  // namespace

TEST(oldKernel, "a kernel older than 5.4 is refused and told to JavaScript") {
  FakeChannel channel;
  JobQueue jobs;
  Server server({}, channel, jobs);
  Scratch scratch;
  std::string bytes = requestBytes(kInit, 1, 0, initArguments(30));
  server.handle(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), scratch);
  Reply reply;
  CHECK(channel.take(1, reply) && reply.error == EPROTO && !server.ready());
  std::vector<Job> taken;
  jobs.take(taken, 1, 1000);
  CHECK(taken.size() == 1 && taken[0].kind == kJobClosed);
}

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

TEST(wholeFile, "a complete file passes through, with one id, and is opened again without JavaScript") {
  Rig rig;
  rig.lookup("a", 7, kFile, 10000);
  char path[] = "/tmp/imgfs-native-test-XXXXXX";
  int fd = mkstemp(path);
  CHECK(fd >= 0 && ftruncate(fd, 10000) == 0);
  OpenAnswer answer;
  answer.script = 5;
  answer.keepCache = true;
  answer.complete = true;
  answer.fd = fd;
  uint32_t flags = 0;
  int32_t first = 0, second = 0;
  uint64_t a = openFile(rig, 7, answer, &flags, &first);
  CHECK((flags & kOpenPassthrough) != 0 && (flags & kOpenKeepCache) == 0 && first > 0);
  uint64_t b = openFile(rig, 7, answer, &flags, &second);
  CHECK((flags & kOpenPassthrough) != 0 && second == first);
  CHECK_EQUAL(rig.server.counter(kSealedOpens), 1);
  unlink(path);  // evicted: JavaScript is asked, the id stays the same while it is in use
  rig.send(kOpen, 7, raw(OpenIn{O_RDONLY, 0}));
  Job job = rig.job();
  CHECK_EQUAL(job.kind, static_cast<uint32_t>(kOpen));
  OpenAnswer other;
  other.script = 6;
  other.keepCache = true;
  rig.server.replyOpen(job.id, other);
  OpenOut out = rig.body<OpenOut>();
  CHECK((out.openFlags & kOpenPassthrough) != 0 && out.backingId == first);
  for (uint64_t fh : {a, b, out.fh}) closeFile(rig, 7, fh);
  CHECK_EQUAL(rig.channel.openBackings(), 0);
  close(fd);
}

TEST(mixedOpens, "while a cached handle lives, no handle passes through") {
  Rig rig;
  rig.lookup("a", 7, kFile, 10000);
  int fd = memoryFile(10000);
  OpenAnswer partial;
  partial.script = 5;
  partial.keepCache = true;
  partial.fd = fd;
  uint32_t flags = 0;
  uint64_t a = openFile(rig, 7, partial, &flags);
  CHECK((flags & kOpenPassthrough) == 0);
  OpenAnswer whole = partial;
  whole.complete = true;
  uint64_t b = openFile(rig, 7, whole, &flags);
  CHECK((flags & kOpenPassthrough) == 0);
  closeFile(rig, 7, a);
  closeFile(rig, 7, b);
  openFile(rig, 7, whole, &flags);
  CHECK((flags & kOpenPassthrough) != 0);
  close(fd);
}

TEST(noRight, "without the right to register files, complete ones are read by pread") {
  Rig rig;
  rig.channel.failBacking(EPERM);
  rig.lookup("a", 7, kFile, 10000);
  int fd = memoryFile(10000);
  OpenAnswer answer;
  answer.script = 5;
  answer.keepCache = true;
  answer.complete = true;
  answer.fd = fd;
  uint32_t flags = 0;
  uint64_t fh = openFile(rig, 7, answer, &flags);
  CHECK((flags & kOpenPassthrough) == 0 && (flags & kOpenKeepCache) != 0);
  close(fd);  // the driver has its own
  rig.send(kRead, 7, raw(readIn(fh, 9000, 4096)));
  Reply reply = rig.reply();
  CHECK(reply.error == 0 && reply.body.size() == 1000);
  CHECK_EQUAL(static_cast<uint8_t>(reply.body[5]), static_cast<uint8_t>(9005 * 31 + (9005 >> 8)));
  rig.send(kRead, 7, raw(readIn(fh, 20000, 4096)));
  CHECK(rig.reply().body.empty());
}

TEST(parkedReads, "reads of what is missing wait for one fill and are answered from the file") {
  Rig rig;
  rig.lookup("a", 7, kFile, 100000);
  int fd = memoryFile(150000);
  OpenAnswer answer;
  answer.script = 5;
  answer.keepCache = true;
  answer.fd = fd;
  answer.base = 1000;
  answer.present = {{0, 4096}};
  uint64_t fh = openFile(rig, 7, answer);
  rig.send(kRead, 7, raw(readIn(fh, 0, 4096)));
  CHECK_EQUAL(rig.reply().body.size(), 4096);
  uint64_t one = rig.send(kRead, 7, raw(readIn(fh, 4096, 8192)));
  uint64_t two = rig.send(kRead, 7, raw(readIn(fh, 8192, 8192)));
  uint64_t tail = rig.send(kRead, 7, raw(readIn(fh, 99000, 4096)));
  Job a = rig.job(), b = rig.job(), c = rig.job();
  CHECK(a.kind == kJobFill && a.a == 5 && a.b == 4096 && a.c == 12288);
  CHECK(b.kind == kJobFill && b.b == 12288 && b.c == 16384);
  CHECK(c.kind == kJobFill && c.b == 99000 && c.c == 100000);
  CHECK(rig.job().kind == 0 && !rig.answered(one));
  rig.server.fillDone(a.id, 0, false, false, {});
  CHECK(rig.parkedReady && rig.server.answerParked(rig.scratch));
  Reply reply = rig.reply(one);
  CHECK(reply.body.size() == 8192);
  CHECK_EQUAL(static_cast<uint8_t>(reply.body[0]), static_cast<uint8_t>(5096 * 31 + (5096 >> 8)));
  CHECK(!rig.answered(two));
  rig.server.fillDone(b.id, 0, false, false, {{12288, 16384}});
  rig.server.answerParked(rig.scratch);
  CHECK_EQUAL(rig.reply(two).body.size(), 8192);
  rig.server.fillDone(c.id, ETIMEDOUT, false, false, {});
  CHECK_EQUAL(rig.reply(tail).error, ETIMEDOUT);
  // Asked again, it cannot be kept: the bytes come through JavaScript.
  rig.send(kRead, 7, raw(readIn(fh, 99000, 4096)));
  Job again = rig.job();
  rig.server.fillDone(again.id, 0, true, false, {});
  Job read = rig.job();
  CHECK(read.kind == kRead && read.a == 5 && read.b == 99000);
  uint8_t bytes[1000] = {1, 2, 3};
  CHECK(rig.server.replyBytes(read.id, bytes, sizeof(bytes)));
  CHECK_EQUAL(rig.reply().body.size(), 1000);
  CHECK_EQUAL(rig.server.gauges().pending, 0);
  close(fd);
}

TEST(received, "reads of what is being received are answered as it comes, and JavaScript is asked for what did not come") {
  Rig rig;
  const uint64_t mib = 1 << 20, size = 16 * mib, base = 1000;
  rig.lookup("a", 7, kFile, size);
  int fd = memoryFile(size + base);
  struct stat status {};
  CHECK_EQUAL(fstat(fd, &status), 0);
  OpenAnswer answer;
  answer.script = 5;
  answer.fd = fd;
  answer.base = base;
  uint64_t fh = openFile(rig, 7, answer);
  const auto at = [&](uint64_t begin, uint64_t end) { return Range{base + begin, base + end}; };
  rig.server.fileComing(status.st_dev, status.st_ino, at(0, 8 * mib));
  uint64_t one = rig.send(kRead, 7, raw(readIn(fh, 0, 4096)));
  uint64_t two = rig.send(kRead, 7, raw(readIn(fh, mib, 4096)));
  CHECK_EQUAL(rig.job().kind, 0u);
  rig.server.filePresent(status.st_dev, status.st_ino + 1, at(0, 8 * mib));
  CHECK(!rig.parkedReady);
  rig.server.filePresent(status.st_dev, status.st_ino, at(0, 4095));
  CHECK(!rig.parkedReady);
  rig.server.filePresent(status.st_dev, status.st_ino, at(4095, 8192));
  CHECK(rig.parkedReady && rig.server.answerParked(rig.scratch));
  CHECK_EQUAL(static_cast<uint8_t>(rig.reply(one).body[0]), patternAt(base));
  CHECK(!rig.answered(two));
  // Now and then JavaScript hears how far the reader is.
  uint64_t far = rig.send(kRead, 7, raw(readIn(fh, 5 * mib, 4096)));
  Job asked = rig.job();
  CHECK(asked.kind == kJobFill && asked.a == 5 && asked.b == 5 * mib);
  rig.server.filePresent(status.st_dev, status.st_ino, at(mib, 7 * mib));
  CHECK(rig.server.answerParked(rig.scratch));
  CHECK_EQUAL(rig.reply(two).body.size(), 4096);
  CHECK_EQUAL(rig.reply(far).body.size(), 4096);
  rig.server.fillDone(asked.id, 0, false, false, {});
  // It broke off.
  uint64_t lost = rig.send(kRead, 7, raw(readIn(fh, 7 * mib, 4096)));
  CHECK_EQUAL(rig.job().kind, 0u);
  rig.server.fileOver(status.st_dev, status.st_ino, at(0, 8 * mib));
  Job again = rig.job();
  CHECK(again.kind == kJobFill && again.b == 7 * mib && again.c == 7 * mib + 4096);
  rig.server.fillDone(again.id, EIO, false, false, {});
  CHECK_EQUAL(rig.reply(lost).error, EIO);
  rig.send(kRead, 7, raw(readIn(fh, 9 * mib, 4096)));
  CHECK_EQUAL(rig.job().b, 9 * mib);
  close(fd);
}

TEST(toldOfReader, "JavaScript hears of a reader that goes on through what is there, not of one that jumps") {
  Rig rig;
  const uint64_t mib = 1 << 20, size = 64 * mib;
  rig.lookup("a", 7, kFile, size + 1);
  int fd = memoryFile(size);
  OpenAnswer answer;
  answer.script = 5;
  answer.fd = fd;
  answer.present = {{0, size}};
  uint64_t fh = openFile(rig, 7, answer);
  const auto read = [&](uint64_t offset) {
    rig.send(kRead, 7, raw(readIn(fh, offset, 131072)));
    CHECK_EQUAL(rig.reply().body.size(), 131072u);
  };
  for (uint64_t offset : {20 * mib, mib, 50 * mib, 9 * mib, 30 * mib, uint64_t{0}}) read(offset);
  CHECK_EQUAL(rig.job().kind, 0u);
  std::vector<Job> told;
  // In whatever order a kernel that reads ahead sends them.
  for (uint64_t offset = 0; offset < 16 * mib; offset += 262144) {
    read(offset + 131072);
    read(offset);
    Job job = rig.job();
    if (job.kind == 0) continue;
    CHECK(job.kind == kJobFill && job.a == 5);
    rig.server.fillDone(job.id, 0, false, false, {});
    told.push_back(job);
  }
  CHECK(told.size() == 3 || told.size() == 4);
  close(fd);
}

TEST(damagedFile, "a file that is shorter than it should be is not trusted") {
  Rig rig;
  rig.lookup("a", 7, kFile, 100000);
  int fd = memoryFile(50000);
  OpenAnswer answer;
  answer.script = 5;
  answer.keepCache = true;
  answer.fd = fd;
  answer.present = {{0, 100000}};
  uint64_t fh = openFile(rig, 7, answer);
  rig.send(kRead, 7, raw(readIn(fh, 40000, 20000)));
  Job read = rig.job();
  CHECK(read.kind == kRead && read.b == 40000 && read.c == 20000 && !rig.answered());
  close(fd);
}

TEST(mappedReads, "large reads of what is in memory are answered out of a mapping, at any offset") {
  Rig rig;
  size_t size = 5000000, base = 1000;
  rig.lookup("a", 7, kFile, size - base);
  int fd = memoryFile(size, true);
  OpenAnswer answer;
  answer.script = 5;
  answer.keepCache = true;
  answer.fd = fd;
  answer.base = base;
  answer.present = {{0, size - base}};
  uint64_t fh = openFile(rig, 7, answer);
  bool waited = false;
  rig.scratch.beforeWaiting = [&] { waited = true; };
  for (uint64_t at : {0, 131072, 2000000, 2097152 - 4096, 3900000, 4868928, 10}) {
    rig.send(kRead, 7, raw(readIn(fh, at, 131072)));
    Reply reply = rig.reply();
    CHECK_EQUAL(reply.body.size(), std::min<size_t>(131072, size - base - at));
    for (size_t i : {size_t{0}, size_t{5000}, reply.body.size() - 1})
      CHECK_EQUAL(static_cast<uint8_t>(reply.body[i]), patternAt(base + at + i));
  }
  // tmpfs and file systems that cannot tell what is in memory are read by pread.
  CHECK(rig.scratch.window.isMapped() || waited);
  // Cut: nothing behind the end is read, and JavaScript is asked.
  CHECK(ftruncate(fd, 4000000) == 0);
  rig.send(kRead, 7, raw(readIn(fh, 3950000, 131072)));
  CHECK(rig.job().kind == kRead && !rig.answered());
  rig.scratch.window.drop();
  CHECK(!rig.scratch.window.isMapped());
  close(fd);
}

TEST(segments, "a file of segments is read across their borders, and asked for where nothing was told") {
  Rig rig;
  rig.lookup("a", 7, kFile, 300000);
  int fd = memoryFile(200000);
  OpenAnswer answer;
  answer.script = 5;
  answer.keepCache = true;
  answer.segmented = true;
  uint64_t fh = openFile(rig, 7, answer);
  uint64_t first = rig.send(kRead, 7, raw(readIn(fh, 0, 131072)));
  Job fill = rig.job();
  CHECK(fill.kind == kJobFill && fill.a == 5 && fill.b == 0 && fill.c == 131072);
  std::string literals(1024, 'h');
  // A header, a file from its offset 100 on, and what was told before once more with a header behind.
  CHECK(rig.server.addSegments(fill.id, {{{0, 512}, -1, 0}, {{512, 150512}, fd, 100}}, literals));
  CHECK(rig.server.addSegments(fill.id, {{{512, 150512}, fd, 100}, {{150512, 151024}, -1, 512}}, literals));
  close(fd);  // the driver has its own
  rig.server.fillDone(fill.id, 0, false, false, {});
  CHECK(rig.server.answerParked(rig.scratch));
  Reply reply = rig.reply(first);
  CHECK_EQUAL(reply.body.size(), 131072);
  CHECK(reply.body[511] == 'h');
  for (size_t i : {size_t{512}, size_t{513}, size_t{131071}})
    CHECK_EQUAL(static_cast<uint8_t>(reply.body[i]), patternAt(i - 512 + 100));
  // At once, also across a border; not where nothing is known, until JavaScript has read it.
  rig.send(kRead, 7, raw(readIn(fh, 150000, 1024)));
  reply = rig.reply();
  CHECK(reply.body.size() == 1024 && reply.body[512] == 'h' && reply.body[1023] == 'h');
  CHECK_EQUAL(static_cast<uint8_t>(reply.body[511]), patternAt(149999 + 100));
  rig.send(kRead, 7, raw(readIn(fh, 151000, 1024)));
  fill = rig.job();
  CHECK(fill.kind == kJobFill && fill.b == 151024 && fill.c == 152024);
  // Segments that are none are not taken, and those of nobody's fill neither.
  CHECK(!rig.server.addSegments(fill.id, {{{151024, 400000}, -1, 0}}, literals));
  CHECK(!rig.server.addSegments(fill.id, {{{151024, 152024}, -1, 100}}, literals));
  CHECK(!rig.server.addSegments(fill.id, {{{152024, 151024}, -1, 0}}, literals));
  CHECK(!rig.server.addSegments(fill.id, {{{151024, 152024}, 9999, 0}}, literals));
  CHECK(!rig.server.addSegments(fill.id + 1, {{{151024, 151025}, -1, 0}}, literals));
  rig.server.fillDone(fill.id, 0, true, false, {});
  Job read = rig.job();
  CHECK(read.kind == kRead && read.a == 5 && read.b == 151000 && read.c == 1024);
  uint8_t bytes[1024] = {7};
  CHECK(rig.server.replyBytes(read.id, bytes, sizeof(bytes)));
  CHECK_EQUAL(rig.reply().body.size(), 1024);
  CHECK_EQUAL(rig.server.gauges().openFiles, 1);
  closeFile(rig, 7, fh);
  CHECK_EQUAL(rig.server.gauges().openFiles, 0);
  CHECK_EQUAL(rig.server.gauges().pending, 0);
}

TEST(calledOff, "a deadline ends the wait, and the fill that nobody waits for") {
  ServerConfig config;
  config.operationTimeout = 1;
  Rig rig(config);
  rig.lookup("a", 7, kFile, 100000);
  int fd = memoryFile(10);
  OpenAnswer answer;
  answer.script = 5;
  answer.fd = fd;
  uint64_t fh = openFile(rig, 7, answer);
  rig.send(kRead, 7, raw(readIn(fh, 0, 4096)));
  Job fill = rig.job();
  usleep(5000);
  rig.server.tick();
  CHECK_EQUAL(rig.reply().error, ETIMEDOUT);
  Job abort = rig.job();
  CHECK(abort.kind == kJobAbort && abort.a == fill.id && abort.b == 1 && abort.c == ETIMEDOUT);
  rig.server.fillDone(fill.id, 0, false, true, {});
  CHECK_EQUAL(rig.server.counter(kTimeouts), 1);
  close(fd);
}

TEST(interrupted, "an interrupt of nobody's request is asked for again; one of a harmless signal is ignored") {
  Rig rig;
  rig.send(kInterrupt, 0, raw(InterruptIn{12345}));
  CHECK_EQUAL(rig.reply().error, EAGAIN);
  uint64_t waiting = rig.send(kLookup, kRootNode, text("a"));
  Job job = rig.job();
  rig.send(kInterrupt, 0, raw(InterruptIn{waiting}));
  CHECK(!rig.answered(waiting));  // this process has no signal pending
  CHECK_EQUAL(rig.server.counter(kInterruptsIgnored), 1);
  CHECK(rig.server.replyError(job.id, ENOENT));
  CHECK_EQUAL(rig.reply(waiting).error, ENOENT);
}

TEST(notWritable, "changes are EROFS without asking, and asked for when they are allowed") {
  Rig readOnly;
  readOnly.send(kMkdir, kRootNode, raw(MkdirIn{0755, 0}) + text("a"));
  CHECK_EQUAL(readOnly.reply().error, EROFS);
  ServerConfig config;
  config.writable = true;
  Rig rig(config);
  rig.send(kRename2, kRootNode, raw(Rename2In{9, 1, 0}) + text("old") + text("new-name"));
  Job job = rig.job();
  CHECK(job.kind == kRename2 && job.a == 9 && job.b == 1 && job.c == 3 && job.name == "oldnew-name");
  rig.server.replyError(job.id, 0);
  CHECK_EQUAL(rig.reply().error, 0);
  rig.send(kCreate, kRootNode, raw(CreateIn{O_RDWR, 0100644, 0, 0}) + text("f"));
  CHECK(rig.server.replyCreate(rig.job().id, unpacked(packEntry(8, kFile, 0)), OpenAnswer{}) == Delivery::kDelivered);
  std::string body = rig.reply().body;
  CHECK_EQUAL(body.size(), sizeof(EntryOut) + sizeof(OpenOut));
  OpenOut out;
  std::memcpy(&out, body.data() + sizeof(EntryOut), sizeof(out));
  CHECK((out.openFlags & kOpenNoFlush) == 0);
  WriteIn in{};
  in.fh = out.fh;
  in.size = 5;
  rig.send(kWrite, 8, raw(in) + "bytes");
  Job write = rig.job();
  uint8_t data[10];
  CHECK_EQUAL(rig.server.takePayload(write.id, data, sizeof(data)), 5);
  CHECK(std::memcmp(data, "bytes", 5) == 0 && rig.server.takePayload(write.id, data, sizeof(data)) == 0);
  rig.server.replyCount(write.id, 5);
  CHECK_EQUAL(rig.body<WriteOut>().size, 5u);
  in.size = 6;
  rig.send(kWrite, 8, raw(in) + "bytes");
  CHECK_EQUAL(rig.reply().error, EBADF);
}

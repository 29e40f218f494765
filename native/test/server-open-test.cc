// Opening files that lie on disk: passed through to the kernel or read by the driver.
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "check.h"
#include "fake-kernel.h"

using namespace imgfs::fuse;

namespace {

constexpr uint32_t kFile = 0100644;

}  // namespace

TEST(wholeFile, "a complete file passes through, with one id, and is opened again without JavaScript") {
  Rig rig;
  rig.lookup("a", 7, kFile, 10000);
  char path[] = "/tmp/imgfs-native-test-XXXXXX";
  int fd = mkstemp(path);
  CHECK(fd >= 0 && ftruncate(fd, 10000) == 0);
  OpenAnswer answer = cachedAnswer(5);
  answer.complete = true;
  answer.fd = fd;
  uint32_t flags = 0;
  int32_t first = 0, second = 0;
  uint64_t a = rig.open(7, answer, &flags, &first);
  CHECK((flags & kOpenPassthrough) != 0 && (flags & kOpenKeepCache) == 0 && first > 0);
  uint64_t b = rig.open(7, answer, &flags, &second);
  CHECK((flags & kOpenPassthrough) != 0 && second == first);
  CHECK_EQUAL(rig.server.counter(kSealedOpens), 1);
  unlink(path);  // evicted: JavaScript is asked, the id stays the same while it is in use
  rig.send(kOpen, 7, raw(OpenIn{O_RDONLY, 0}));
  Job job = rig.job();
  CHECK_EQUAL(job.kind, static_cast<uint32_t>(kOpen));
  OpenAnswer other = cachedAnswer(6);
  rig.server.replyOpen(job.id, other);
  OpenOut out = rig.body<OpenOut>();
  CHECK((out.openFlags & kOpenPassthrough) != 0 && out.backingId == first);
  for (uint64_t fh : {a, b, out.fh}) rig.close(7, fh);
  CHECK_EQUAL(rig.channel.openBackings(), 0);
  close(fd);
}

TEST(mixedOpens, "while a cached handle lives, no handle passes through") {
  Rig rig;
  rig.lookup("a", 7, kFile, 10000);
  int fd = memoryFile(10000);
  OpenAnswer partial = cachedAnswer(5);
  partial.fd = fd;
  uint32_t flags = 0;
  uint64_t a = rig.open(7, partial, &flags);
  CHECK((flags & kOpenPassthrough) == 0);
  OpenAnswer whole = partial;
  whole.complete = true;
  uint64_t b = rig.open(7, whole, &flags);
  CHECK((flags & kOpenPassthrough) == 0);
  rig.close(7, a);
  rig.close(7, b);
  rig.open(7, whole, &flags);
  CHECK((flags & kOpenPassthrough) != 0);
  close(fd);
}

TEST(noRight, "without the right to register files, complete ones are read by pread") {
  Rig rig;
  rig.channel.failBacking(EPERM);
  rig.lookup("a", 7, kFile, 10000);
  int fd = memoryFile(10000);
  OpenAnswer answer = cachedAnswer(5);
  answer.complete = true;
  answer.fd = fd;
  uint32_t flags = 0;
  uint64_t fh = rig.open(7, answer, &flags);
  CHECK((flags & kOpenPassthrough) == 0 && (flags & kOpenKeepCache) != 0);
  close(fd);  // the driver has its own
  rig.send(kRead, 7, raw(readIn(fh, 9000, 4096)));
  Reply reply = rig.reply();
  CHECK(reply.error == 0 && reply.body.size() == 1000);
  CHECK_EQUAL(static_cast<uint8_t>(reply.body[5]), static_cast<uint8_t>(9005 * 31 + (9005 >> 8)));
  rig.send(kRead, 7, raw(readIn(fh, 20000, 4096)));
  CHECK(rig.reply().body.empty());
}

// The threads of a mount, at a socket that plays the device.
#include <fcntl.h>
#include <sys/socket.h>

#include <thread>

#include "../src/fuse/session.h"
#include "check.h"
#include "fake-kernel.h"

using namespace imgfs::fuse;

namespace {

constexpr int kSteps = 4000;
constexpr int kUnderWay = 6;
constexpr uint32_t kReadBytes = 65536;

Job waitForJob(JobQueue& jobs) {
  std::vector<Job> taken;
  while (taken.empty()) {
    jobs.take(taken, 1, 65536);
    std::this_thread::yield();
  }
  return taken[0];
}

struct Kernel {
  Kernel() { CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) == 0); }
  void send(uint32_t opcode, uint64_t unique, uint64_t node, const std::string& arguments) {
    std::string bytes = requestBytes(opcode, unique, node, arguments);
    CHECK(write(fds[0], bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  }
  // Length of the answer's body.
  size_t receive(OutHeader& header) {
    buffer.resize(2 * kReadBytes);
    ssize_t got = read(fds[0], buffer.data(), buffer.size());
    CHECK(got >= static_cast<ssize_t>(sizeof(header)));
    std::memcpy(&header, buffer.data(), sizeof(header));
    return static_cast<size_t>(got) - sizeof(header);
  }
  int fds[2];
  std::vector<uint8_t> buffer;
};

}  // namespace

TEST(session, "every request is answered once, however many come at a time, and the threads end") {
  Kernel kernel;
  ServerConfig config;
  config.passthrough = false;
  config.maxRead = 2 * kReadBytes;
  Session session(kernel.fds[1], 4, config);
  session.start();
  OutHeader header;
  kernel.send(kInit, 1, 0, initArguments());
  kernel.receive(header);
  CHECK_EQUAL(waitForJob(session.jobs()).kind, kJobReady);
  kernel.send(kLookup, 2, kRootNode, text("a"));
  session.server().replyEntry(waitForJob(session.jobs()).id, unpacked(packEntry(7, 0100644, 1 << 20)));
  kernel.receive(header);
  kernel.send(kOpen, 3, 7, raw(OpenIn{O_RDONLY, 0}));
  int fd = memoryFile(1 << 20, true);
  OpenAnswer answer;
  answer.keepCache = answer.complete = true;
  answer.fd = fd;
  CHECK(session.server().replyOpen(waitForJob(session.jobs()).id, answer) == Delivery::kAdopted);
  kernel.receive(header);
  OpenOut open;
  std::memcpy(&open, kernel.buffer.data() + sizeof(header), sizeof(open));

  std::vector<bool> answered(kSteps);
  int sent = 0, received = 0;
  while (received < kSteps) {
    // One at a time, and many.
    int most = sent % 500 < 250 ? 1 : kUnderWay;
    while (sent < kSteps && sent - received < most) {
      ReadIn in{};
      in.fh = open.fh;
      in.offset = static_cast<uint64_t>(sent) * 4096 % ((1 << 20) - kReadBytes);
      in.size = sent % 3 == 0 ? 4096 : kReadBytes;
      bool isRead = sent % 4 != 0;
      kernel.send(isRead ? kRead : kGetattr, 1000 + static_cast<uint64_t>(sent), 7, isRead ? raw(in) : std::string(16, '\0'));
      ++sent;
    }
    size_t length = kernel.receive(header);
    CHECK_EQUAL(header.error, 0);
    size_t which = header.unique - 1000;
    CHECK(which < answered.size() && !answered[which]);
    answered[which] = true;
    CHECK_EQUAL(length, which % 4 == 0 ? sizeof(AttrOut) : which % 3 == 0 ? size_t{4096} : size_t{kReadBytes});
    ++received;
  }
  session.stop();
  CHECK(session.waitFinished(10000));
  CHECK_EQUAL(waitForJob(session.jobs()).kind, kJobClosed);
  close(kernel.fds[0]);
  close(fd);
}

#include "mount.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <vector>

extern char** environ;

namespace imgfs::fuse {
namespace {

// fusermount3 does a few system calls; 10 s is a machine that swaps.
constexpr int kHelperTimeoutMs = 10000;

std::string joinOptions(const std::vector<std::string>& options) {
  std::string joined;
  for (const std::string& option : options) joined += (joined.empty() ? "" : ",") + option;
  return joined;
}

// The helper splits its options at commas; a backslash protects.
std::string escapeOption(const std::string& text) {
  std::string escaped;
  for (char c : text) {
    if (c == ',' || c == '\\') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

// Permission bits of an image are checked by the kernel when others may enter. When only the mounting user may, that
// user may read everything: it is in the registry for the taking.
std::vector<std::string> commonOptions(const MountRequest& request) {
  std::vector<std::string> options;
  if (request.allowOther) options.insert(options.end(), {"allow_other", "default_permissions"});
  if (request.maxRead > 0) options.push_back("max_read=" + std::to_string(request.maxRead));
  return options;
}

MountResult mountDirect(const MountRequest& request) {
  MountResult result;
  result.fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
  if (result.fd < 0) {
    result.error = errno;
    result.step = "open /dev/fuse";
    return result;
  }
  std::vector<std::string> options = commonOptions(request);
  options.insert(options.end(), {"fd=" + std::to_string(result.fd), "rootmode=40000",
                                 "user_id=" + std::to_string(getuid()), "group_id=" + std::to_string(getgid())});
  unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOATIME | (request.readOnly ? MS_RDONLY : 0);
  if (mount(request.fsName.c_str(), request.mountPoint.c_str(), "fuse.imgfs", flags, joinOptions(options).c_str()) != 0) {
    result.error = errno;
    result.step = "mount";
    close(result.fd);
    result.fd = -1;
  }
  return result;
}

// A child with chosen descriptors. Its standard error comes back as text.
class Helper {
 public:
  ~Helper() {
    if (errors_ >= 0) close(errors_);
  }

  int start(const std::string& path, const std::vector<std::string>& arguments, int passedFd) {
    int pipes[2];
    if (pipe2(pipes, O_CLOEXEC) != 0) return errno;
    errors_ = pipes[0];
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, pipes[1], 2);
    // dup2 onto a number of its own clears close-on-exec; 3 may be anything here, and is only changed in the child.
    if (passedFd >= 0) posix_spawn_file_actions_adddup2(&actions, passedFd, 3);
    std::vector<char*> argv;
    argv.push_back(const_cast<char*>(path.c_str()));
    for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    std::vector<char*> environment;
    for (char** variable = environ; *variable != nullptr; ++variable) {
      if (std::strncmp(*variable, "_FUSE_COMMFD=", 13) != 0) environment.push_back(*variable);
    }
    environment.push_back(const_cast<char*>("_FUSE_COMMFD=3"));
    environment.push_back(nullptr);
    int error = posix_spawn(&pid_, path.c_str(), &actions, nullptr, argv.data(), environment.data());
    posix_spawn_file_actions_destroy(&actions);
    close(pipes[1]);
    return error;
  }

  // Exit status; -1 after a signal or the deadline.
  int finish(std::string& output) {
    char text[1024];
    pollfd wait{errors_, POLLIN, 0};
    while (poll(&wait, 1, kHelperTimeoutMs) > 0) {
      ssize_t got = ::read(errors_, text, sizeof(text));
      if (got <= 0) break;
      if (output.size() < 8192) output.append(text, static_cast<size_t>(got));
    }
    while (!output.empty() && output.back() == '\n') output.pop_back();
    int status = 0;
    // After the end of its output it only has to exit.
    for (int waited = 0; waited < kHelperTimeoutMs; waited += 5) {
      pid_t ended = waitpid(pid_, &status, WNOHANG);
      if (ended == pid_) return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
      if (ended < 0 && errno != EINTR) return -1;
      usleep(5000);
    }
    kill(pid_, SIGKILL);
    waitpid(pid_, &status, 0);
    return -1;
  }

 private:
  pid_t pid_ = -1;
  int errors_ = -1;
};

int receiveFd(int socket) {
  pollfd wait{socket, POLLIN, 0};
  if (poll(&wait, 1, kHelperTimeoutMs) <= 0) return -1;
  char byte;
  iovec data{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) <= 0) return -1;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header == nullptr || header->cmsg_type != SCM_RIGHTS || header->cmsg_len != CMSG_LEN(sizeof(int))) return -1;
  int fd;
  std::memcpy(&fd, CMSG_DATA(header), sizeof(fd));
  return fd;
}

MountResult mountWithHelper(const MountRequest& request) {
  MountResult result;
  result.step = "fusermount3";
  int sockets[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0) {
    result.error = errno;
    return result;
  }
  std::vector<std::string> options = commonOptions(request);
  options.insert(options.end(), {"nosuid", "nodev", "noatime", "subtype=imgfs", "fsname=" + escapeOption(request.fsName)});
  if (request.readOnly) options.push_back("ro");
  Helper helper;
  result.error = helper.start(request.helper, {"-o", joinOptions(options), "--", request.mountPoint}, sockets[1]);
  close(sockets[1]);
  if (result.error == 0) {
    result.fd = receiveFd(sockets[0]);
    int status = helper.finish(result.output);
    if (result.fd < 0 || status != 0) {
      if (result.fd >= 0) close(result.fd);
      result.fd = -1;
      result.error = EPERM;
    }
  }
  close(sockets[0]);
  return result;
}

}  // namespace

MountResult mountFuse(const MountRequest& request) {
  return request.helper.empty() ? mountDirect(request) : mountWithHelper(request);
}

int unmountFuse(const std::string& mountPoint, const std::string& helper, bool lazy, std::string& output) {
  if (helper.empty()) {
    int flags = UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0);
    return umount2(mountPoint.c_str(), flags) == 0 ? 0 : errno;
  }
  Helper child;
  std::vector<std::string> arguments = {"-u", "--", mountPoint};
  if (lazy) arguments.insert(arguments.begin(), "-z");
  int error = child.start(helper, arguments, -1);
  if (error != 0) return error;
  return child.finish(output) == 0 ? 0 : EBUSY;
}

}  // namespace imgfs::fuse

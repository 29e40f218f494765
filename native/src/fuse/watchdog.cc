// imgfs-watchdog MOUNTPOINT HELPER: unmounts MOUNTPOINT when its daemon is gone.
//
// Standard input is a pipe whose other end only the daemon holds. A line "device MAJOR:MINOR" says which mount is
// meant, "done" that there is nothing to do any more. The end of input without "done" is the daemon's end. HELPER is
// the path of fusermount3, or empty.
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

extern char** environ;

namespace {

// The mount table escapes space, tab, newline and backslash as three octal digits.
std::string unescape(const std::string& field) {
  std::string out;
  for (size_t i = 0; i < field.size(); ++i) {
    bool escaped = field[i] == '\\' && i + 3 < field.size();
    if (escaped) {
      out += static_cast<char>(((field[i + 1] - '0') << 6) | ((field[i + 2] - '0') << 3) | (field[i + 3] - '0'));
      i += 3;
    } else {
      out += field[i];
    }
  }
  return out;
}

std::vector<std::string> split(const std::string& line) {
  std::vector<std::string> fields;
  size_t from = 0;
  for (size_t to; (to = line.find(' ', from)) != std::string::npos; from = to + 1)
    fields.push_back(line.substr(from, to - from));
  fields.push_back(line.substr(from));
  return fields;
}

// Device of the imgfs mount on top at that place; empty when there is none.
std::string mountedDevice(const std::string& mountPoint) {
  std::string text, device;
  FILE* file = std::fopen("/proc/self/mountinfo", "re");
  if (file == nullptr) return "";
  char part[4096];
  for (size_t got; (got = std::fread(part, 1, sizeof(part), file)) > 0;) text.append(part, got);
  std::fclose(file);
  size_t from = 0;
  for (size_t to; (to = text.find('\n', from)) != std::string::npos; from = to + 1) {
    std::vector<std::string> fields = split(text.substr(from, to - from));
    if (fields.size() < 5 || unescape(fields[4]) != mountPoint) continue;
    size_t dash = 5;
    while (dash < fields.size() && fields[dash] != "-") ++dash;
    bool ours = dash + 1 < fields.size() && fields[dash + 1] == "fuse.imgfs";
    device = ours ? fields[2] : "";  // the last line is the mount on top
  }
  return device;
}

void detach(const std::string& mountPoint, const std::string& helper) {
  if (umount2(mountPoint.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0 || helper.empty()) return;
  const char* arguments[] = {helper.c_str(), "-u", "-z", "--", mountPoint.c_str(), nullptr};
  pid_t child = 0;
  int status = 0;
  if (posix_spawn(&child, helper.c_str(), nullptr, nullptr, const_cast<char**>(arguments), environ) == 0)
    waitpid(child, &status, 0);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  // It ends with its daemon and by nothing else.
  for (int ignored : {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE}) signal(ignored, SIG_IGN);
  const std::string mountPoint = argv[1], helper = argv[2];
  std::string input;
  char part[256];
  for (;;) {
    ssize_t got = read(0, part, sizeof(part));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    input.append(part, static_cast<size_t>(got));
  }
  if (input.rfind("done\n") != std::string::npos) return 0;
  std::string known;
  if (input.rfind("device ", 0) == 0) known = input.substr(7, input.find('\n') - 7);
  // The pipe and the device are closed one after the other while the daemon ends.
  for (int attempt = 0; attempt < 40; ++attempt) {
    std::string device = mountedDevice(mountPoint);
    if (device.empty()) return 0;
    bool ours = known.empty() || known == "unknown" ? access(mountPoint.c_str(), F_OK) != 0 && errno == ENOTCONN
                                                     : device == known;
    if (!ours && !known.empty() && known != "unknown") return 0;
    if (ours) {
      detach(mountPoint, helper);
      if (mountedDevice(mountPoint) != device) return 0;
    }
    usleep(50000);
  }
  return 1;
}

// Gives room back inside a file that other processes may have open.
#pragma once

#include <cstdint>
#include <vector>

namespace imgfs {

struct Hole {
  uint64_t start;
  uint64_t end;
  // Place of its byte in the map beside the file; 0 there means "not present".
  uint64_t mapIndex;
};

// Say that this process reads the file: nobody else punches it until the descriptor is closed. False on a file system
// without locks, and while somebody punches for longer than `kLockTries` allow.
bool lockShared(int fd);

// Punch holes if nobody else has the file open. The map says so first: a process that opens the file meanwhile, or after
// a crash, believes nothing that is gone. False: nothing was changed. Holds the shared lock again afterwards.
bool punchHoles(int fd, int mapFd, const std::vector<Hole>& holes);

}  // namespace imgfs

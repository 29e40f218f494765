// Whether a thread that waits on a request should stop waiting, judged by the signals that are pending for it.
#pragma once

#include <cstdint>
#include <string_view>

namespace imgfs::fuse {

// The kernel sends INTERRUPT for any signal, also for those that a program handles all the time and does not expect
// to end a read: SIGCHLD of a shell, SIGURG of a Go program (10 ms preemption), SIGWINCH, a profiler's SIGPROF. EINTR
// for those breaks programs that work on any other file system. Signals that end or stop what the user does (SIGKILL,
// SIGINT, SIGTERM, SIGALRM…) do interrupt.
//
// `status` is the text of /proc/<tid>/status.
bool endsWait(std::string_view status);

// Reads /proc/<tid>/status. True as well when it cannot be read: the thread is gone, or hidden from this process.
bool endsWait(uint32_t tid);

}  // namespace imgfs::fuse

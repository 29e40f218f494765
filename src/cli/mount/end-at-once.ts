/** What `imgfs umount --force` sends to the daemon: end now, and leave to the spool what is not sent. */
export const endAtOnceSignal = 'SIGUSR2';

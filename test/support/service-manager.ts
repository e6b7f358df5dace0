// A service manager as systemd is one to a service: it opens the sockets, passes them on as descriptors 3 and up, and is told by
// datagrams how things stand (sd_listen_fds(3), sd_notify(3)). In Perl, which every Debian has: Node knows no such datagrams.

import { writeFile } from 'node:fs/promises';
import { type RunningProcess, start, toolEnvironment } from './run.ts';
import type { TempDir } from './temp-dir.ts';

export interface ManagedService extends AsyncDisposable {
  /** Of the TCP socket. */
  readonly port: number;
  /** The process that was started. */
  readonly pid: number;
  /** Resolves once the service has said this. */
  told(word: string): Promise<void>;
  /** Sends SIGTERM to that process alone, and resolves to its exit code. */
  stop(): Promise<number>;
  readonly manager: RunningProcess;
}

export interface ServiceOptions {
  readonly command: readonly string[];
  /** Beside the TCP socket. */
  readonly unixSocket?: string;
  readonly environment?: Readonly<Record<string, string>>;
}

export async function startService(temp: TempDir, options: ServiceOptions): Promise<ManagedService> {
  const script = temp.join('service-manager.pl');
  await writeFile(script, MANAGER);
  const manager = start('perl', [script, temp.join('notify'), options.unixSocket ?? '', ...options.command], {
    env: toolEnvironment({ HOME: temp.join('home'), ...options.environment }),
  });
  const [, port, pid] = await manager.waitForOutput(/^port (\d+) pid (\d+)$/m);
  return {
    port: Number(port),
    pid: Number(pid),
    manager,
    told: async (word) => void (await manager.waitForOutput(new RegExp(`^told .*${word}`, 'm'))),
    stop: async () => {
      process.kill(Number(pid), 'SIGTERM');
      const [, code] = await manager.waitForOutput(/^exit (\d+)$/m);
      await manager.done;
      return Number(code);
    },
    [Symbol.asyncDispose]: async () => {
      try {
        process.kill(Number(pid), 'SIGKILL');
      } catch {
        // It has ended already.
      }
      await manager.stop();
    },
  };
}

const MANAGER = String.raw`
use strict;
use warnings;
use IO::Socket::INET;
use IO::Socket::UNIX;
use POSIX ();
use Socket;

$| = 1;
my ($notify_path, $unix_path, @command) = @ARGV;
my $notify = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Local => $notify_path) or die "notify: $!";
my $tcp = IO::Socket::INET->new(Listen => 64, LocalAddr => '127.0.0.1', LocalPort => 0) or die "tcp: $!";
my @sockets = ($tcp);
push @sockets, IO::Socket::UNIX->new(Type => SOCK_STREAM, Local => $unix_path, Listen => 64) if $unix_path ne '';

my $pid = fork();
die "fork: $!" unless defined $pid;
if ($pid == 0) {
  # Out of the way first: what is to become 3 may be what another one is now.
  my @copies = map { POSIX::dup2(fileno($_), 50 + fileno($_)) } @sockets;
  POSIX::dup2($copies[$_], 3 + $_) for 0 .. $#copies;
  POSIX::close($_) for @copies;
  $ENV{LISTEN_PID} = $$;
  $ENV{LISTEN_FDS} = scalar @sockets;
  $ENV{NOTIFY_SOCKET} = $notify_path;
  exec @command or POSIX::_exit(127);
}
# As systemd does, the sockets stay open here too: a service that ends leaves its port to the next.
printf "port %d pid %d\n", $tcp->sockport, $pid;
my $ended = 0;
$SIG{ALRM} = sub { };
while (!$ended) {
  my $message;
  my $ready = '';
  vec($ready, fileno($notify), 1) = 1;
  if (select($ready, undef, undef, 0.05) > 0 && defined $notify->recv($message, 4096)) {
    $message =~ s/\n/ /g;
    print "told $message\n";
  }
  $ended = waitpid($pid, POSIX::WNOHANG()) == $pid;
}
printf "exit %d\n", $? >> 8 || $? & 127;
`;

// SPDX-License-Identifier: Apache-2.0
/* Asks a running gateway or client over its control socket. */
#include "core/cli/ctl.h"
#include "core/cli/ctl_cluster.h"
#include "core/cli/ctl_command.h"
#include "core/host/process.h"

static const char *const synopses[] = {
	"[--socket PATH] [--json] status | identity",
	"[--socket PATH] [--agent PATH] [--json] cluster",
	"[--agent PATH] [--json] drain [--off]",
	"[--socket PATH] [--json] stages [--sampling N] [--raw] [--diff SECONDS|BEFORE [AFTER]]",
	"[--socket PATH] record [--interval SECONDS] [-n TIMES]",
	"[--socket PATH] [--json] top [--sort ORDER] [--filter TEXT] "
	"[--interval SECONDS] [-b [-n TIMES] [--count N]]",
	"[--socket PATH] [--json] sessions [--from SLOT] [--count N] [--peer KEY] "
	"[--address IP] [--state active|pending]",
	"[--socket PATH] [--json] kick ID|KEY",
	"[--socket PATH] [--agent PATH] [--json] peer add KEY [--wireguard] [--name NAME [--save]] [--psk-file PATH] "
	"[--address IP] [--allowed-ips NETWORK,...] [--rate-up RATE] [--rate-down RATE] [--burst SIZE] "
	"[--quota BYTES/PERIOD] [--quota-rate RATE]",
	"[--socket PATH] [--agent PATH] [--json] peer add --new NAME [--wireguard] [--save] [--endpoint HOST[:PORT]] "
	"[--routes NETWORK,...|all] [--qr] [--address IP] [--allowed-ips NETWORK,...] "
	"[--rate-up RATE] [--rate-down RATE] [--burst SIZE] [--quota BYTES/PERIOD] [--quota-rate RATE]",
	"[--socket PATH] [--agent PATH] [--json] peer del KEY",
	"[--socket PATH] [--json] quota reset NAME|KEY",
	"[--socket PATH] [--json] reload",
	"import FILE [--directory DIRECTORY [--force]]",
	NULL};

static const struct cli_program program = {
	.name = "shardtunctl",
	.summary = "ask a running shardtun gateway or client",
	.synopses = synopses,
	.details =
		"  status          role and version, sessions, traffic, threads, and drops by reason\n"
		"  stages          how long each stage of the data path takes: quantiles in ns and cycles\n"
		"  record          status and stages at an interval, a line of JSON each, for perf/plot/recording.py\n"
		"\n"
		"Of a gateway:\n"
		"  sessions        who is connected\n"
		"  top             threads and the busiest sessions, live; of a client its threads only\n"
		"  kick            end a session, by its ID or its peer's public key; the client may reconnect\n"
		"  peer add, del   add or remove a client, until the next reload, which follows the files; with\n"
		"                  ClusterNode in etcd, for all gateways\n"
		"  peer add --new  add a client with new keys, and print its file, for 'shardtun run' or WireGuard\n"
		"  quota reset     what a peer has used of its quota starts at 0\n"
		"  identity        what a client's file needs: public key, endpoint, networks\n"
		"  cluster         with ClusterNode: nodes, blocks of clients and their owners, and what is served "
		"here\n"
		"  drain           hand all blocks over to other gateways, one by one, and take none\n"
		"  reload          read the configuration again; peers and LogLevel follow it\n"
		"\n"
		"Before there is one:\n"
		"  import          turn a WireGuard server's file into a configuration, so that its clients go on\n"
		"\n"
		"  -s, --socket PATH   the control socket (default: the only *.sock in " CTL_DIRECTORY ")\n"
		"  -c, --config FILE   the gateway's configuration: says which User may answer; peer add --new and\n"
		"                      --save read it (default: " CTL_GATEWAY_CONFIG ")\n"
		"  -j, --json          the daemon's answer as it is, for scripts\n"
		"      --agent PATH    cluster, drain, peer: the agent's socket (default: " CTL_AGENT_SOCKET ")\n"
		"      --off           drain: no longer\n"
		"\n"
		"      --sampling N    stages: time one batch in N until the daemon restarts; 0: none\n"
		"      --raw           stages: JSON with the histograms' buckets, for --diff\n"
		"      --diff SECONDS  stages: only the next SECONDS seconds\n"
		"      --diff BEFORE [AFTER]\n"
		"                      stages: only the time between two files of --raw; without AFTER until now\n"
		"      --interval SECONDS\n"
		"                      top, record: how often (default: 1)\n"
		"  -n, --times N       top, record: end after so many (default: never)\n"
		"  -b, --batch         top: plain text, one sample after the other; with --json a line of JSON each\n"
		"      --sort ORDER    top: bits, rx, tx, packets, bytes, seen, age or roams (default: bits)\n"
		"      --filter TEXT   top: only sessions with it in name, key, addresses, endpoint, protocol or ID\n"
		"      --from SLOT     sessions: continue from the slot that the last list named\n"
		"      --count N       sessions, top: at most so many (default: all; top -b: 20)\n"
		"      --peer KEY      sessions: of this peer only\n"
		"      --address IP    sessions: with this inner address only; peer add: keep it for the peer\n"
		"      --state STATE   sessions: active or pending only\n"
		"      --psk-file PATH peer add: file with the pre-shared key, which the daemon reads; absolute\n"
		"      --allowed-ips NETWORK,...\n"
		"                      peer add: networks behind the peer\n"
		"      --rate-up RATE, --rate-down RATE, --burst SIZE, --quota BYTES/PERIOD, --quota-rate RATE\n"
		"                      peer add: limits, as in a configuration\n"
		"      --name NAME     peer add: its name in lists and logs\n"
		"      --save          peer add: also write PeersDirectory/NAME.conf, so that it stays\n"
		"      --new NAME      peer add: generate private and pre-shared key, print the client's file\n"
		"      --wireguard     peer add: it speaks WireGuard; with --new, print a file for wg-quick and apps\n"
		"      --endpoint HOST[:PORT]\n"
		"                      --new: where the client finds the gateway (default: PublicEndpoint)\n"
		"      --routes NETWORK,...|all\n"
		"                      --new: the client's AllowedIPs (default: the gateway's networks)\n"
		"      --qr            --new: also print the QR code, as is always done in a terminal\n"
		"      --directory DIRECTORY\n"
		"                      import: write gateway.conf and its key files there, instead of printing the "
		"first\n"
		"      --force         import: replace a gateway.conf and a wireguard.key that are there\n",
};

int main(int argc, char **argv)
{
	enum cli_status status;
	process_begin();
	if (cli_help_or_version(&program, argc, argv, &status))
		return (int)status;

	struct ctl_options options = {0};
	int option;
	while ((option = getopt_long(argc, argv, ":s:c:jbn:", ctl_long_options, NULL)) != -1) {
		/* No name begins so: "--new --wireguard NAME" is "--wireguard --new NAME". */
		if (option == CTL_NEW && optarg != NULL && strcmp(optarg, "--wireguard") == 0) {
			options.values[CTL_WIREGUARD - CTL_FROM] = "";
			optarg = optind < argc ? argv[optind++] : NULL;
			if (optarg == NULL)
				return (int)cli_usage_error(&program, "--new needs a value");
		}
		if (option >= CTL_FROM)
			options.values[option - CTL_FROM] = optarg != NULL ? optarg : "";
		else if (option == 'b')
			options.values[CTL_BATCH - CTL_FROM] = "";
		else if (option == 'n')
			options.values[CTL_TIMES - CTL_FROM] = optarg;
		else if (option == 's')
			options.socket = optarg;
		else if (option == 'c')
			options.config = optarg;
		else if (option == 'j')
			options.json = true;
		else if (option == ':')
			return (int)cli_usage_error(&program, "%s needs a value", argv[optind - 1]);
		else if (optopt != 0)
			return (int)cli_usage_error(&program, "-%c is no option", optopt);
		else
			return (int)cli_usage_error(&program, "%s is no option", argv[optind - 1]);
	}
	return (int)ctl_command_run(&program, &options, argv + optind, argc - optind);
}

package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"multihead/internal/cluster"
)

// tr translates what is said to a person. Its key is the English text itself,
// so that a text without a translation is still said. Commands, keys, states,
// logs and JSON are not translated; neither are the services' own reasons in
// this release.
func (a *app) tr(english string) string {
	if a.korean() {
		if ko, ok := koreanTexts()[english]; ok {
			return ko
		}
	}
	return english
}

// korean is --lang, else the locale.
func (a *app) korean() bool {
	switch a.lang {
	case "ko":
		return true
	case "":
		for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
			if v := os.Getenv(name); v != "" {
				return strings.HasPrefix(v, "ko")
			}
		}
	}
	return false
}

// sentence is the survival level in one line.
func (a *app) sentence(s cluster.Survival) string {
	if !a.korean() {
		return s.Sentence()
	}
	if len(s.Services) == 0 {
		return "켜진 서비스가 없습니다"
	}
	line := fmt.Sprintf("동시에 헤드 %d대, 차례로 %d대를 잃어도 됩니다", s.AtOnce, s.InTurn)
	if s.AtOnce == 0 {
		line = "헤드를 한 대도 잃으면 안 됩니다"
	}
	if len(s.Weakest) < len(s.Services) {
		line += fmt.Sprintf(" (한계: %s)", strings.Join(s.Weakest, ", "))
	}
	return line
}

// translateHelp puts the short texts of all commands into the person's
// language. Flags are known by then: it runs when help is asked for.
func (a *app) translateHelp(root *cobra.Command) {
	help := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		if a.korean() {
			var walk func(*cobra.Command)
			walk = func(c *cobra.Command) {
				c.Short, c.Long = a.tr(c.Short), a.tr(c.Long)
				for _, sub := range c.Commands() {
					walk(sub)
				}
			}
			walk(root)
		}
		help(cmd, args)
	})
}

// koreanTexts are the texts in Korean, by their English.
func koreanTexts() map[string]string {
	return map[string]string{
		"N head nodes of a Slurm cluster as one highly available cluster, from one file":                 "Slurm 클러스터의 헤드 노드 N대를 파일 하나로 하나의 고가용성 클러스터로 만듭니다",
		"Bring the cluster to what the file says: form it, join heads to it, start what is stopped":      "클러스터를 파일대로 만듭니다: 새로 구성하고, 헤드를 합류시키고, 멈춘 것을 시작합니다",
		"Show what up would do, and what the cluster will survive":                                       "up이 무엇을 할지, 클러스터가 무엇을 견디는지 보여 줍니다",
		"Ask every head, all at once, what of the cluster is there":                                      "모든 헤드에 한꺼번에 물어 클러스터의 무엇이 있는지 알아봅니다",
		"One screen: does it serve, what is broken, what can it still lose":                              "한 화면: 서비스 중인가, 무엇이 고장인가, 얼마나 더 잃어도 되는가",
		"What the agents did by themselves and what they found to need a person, oldest first":           "에이전트가 스스로 한 일과 사람이 필요하다고 본 것을 오래된 순으로 보여 줍니다",
		"Nothing has happened since the agents were started.":                                            "에이전트가 시작된 뒤로 일어난 일이 없습니다.",
		"The cluster is %s all the same:\n":                                                              "그래도 클러스터 상태는 %s입니다:\n",
		"Make a cluster serve again after power loss or lost quorum; form nothing, change no setting":    "정전이나 쿼럼 상실 뒤에 클러스터를 다시 서비스하게 합니다. 새로 만들지도 설정을 바꾸지도 않습니다",
		"Nothing to recover: what exists on the hosts that answered serves, or was stopped by a person.": "복구할 것 없음: 응답한 호스트에 있는 것은 서비스 중이거나 사람이 멈춘 것입니다.",
		"Stop the cluster, or a part of it, in order: nothing is lost and up starts it again":            "클러스터나 그 일부를 순서대로 멈춥니다: 잃는 것이 없고 up으로 다시 시작합니다",
		"Write a commented cluster file to start from":                                                   "설명이 달린 클러스터 파일을 새로 만듭니다",
		"Check, show and convert the cluster file; asks no host":                                         "클러스터 파일을 검사하고 보여 주고 변환합니다; 호스트에는 묻지 않습니다",
		"Real hosts on this one machine, to try things on":                                               "이 컴퓨터 한 대에서 시험해 볼 수 있는 진짜 호스트들",
		"Look at all hosts at once before anything is changed: what would go wrong, and what to do":      "무엇을 바꾸기 전에 모든 호스트를 한꺼번에 점검합니다: 무엇이 잘못될지, 어떻게 할지",
		"Look at all hosts at once: reach, root, system, clock, names, disks, memory, ports, accounts,\npackages, versions. Nothing is changed. Exit code: 0 nothing failed, 1 something did.": "모든 호스트를 한꺼번에 점검합니다: 접속, root 권한, 운영체제, 시계, 이름, 디스크, 메모리, 포트, 계정,\n패키지, 버전. 아무것도 바꾸지 않습니다. 종료 코드: 0 실패 없음, 1 실패 있음.",
		"These hosts were never seen before. Compare the fingerprints with those on their consoles":                                                                                            "처음 보는 호스트들입니다. 아래 지문을 각 호스트의 콘솔에서 본 것과 비교하십시오",
		"Trust them and go on? [y/N] ": "이 호스트들을 믿고 계속할까요? [y/N] ",
		"note:":                        "참고:",
		"do:":                          "할 일:",
		"\nHosts: %d. Failed: %d, to look at: %d, unknown: %d.\n":                                       "\n호스트 %d대. 실패 %d, 살펴볼 것 %d, 알 수 없음 %d.\n",
		"Exit code: 0 all is well, 1 degraded, 2 down, 3 unknown, 64 usage, 78 the cluster file.":       "종료 코드: 0 정상, 1 저하, 2 중단, 3 알 수 없음, 64 사용법, 78 클러스터 파일.",
		"Exit code: 0 a head answered, 1 none did, 64 usage, 78 the cluster file.":                      "종료 코드: 0 응답한 헤드가 있음, 1 응답한 헤드가 없음, 64 사용법, 78 클러스터 파일.",
		"No changes: the cluster is as the file says.":                                                  "변경 없음: 클러스터가 파일과 같습니다.",
		"No changes: it is stopped already.":                                                            "변경 없음: 이미 멈춰 있습니다.",
		"Ask the devices that switch heads off, and switch one off for certain":                         "헤드의 전원을 끊는 장치들에 묻고, 헤드 하나의 전원을 확실히 끊습니다",
		"Ask every device, from every head, whether its head has power":                                 "모든 헤드에서 모든 장치에, 그 헤드에 전원이 들어와 있는지 묻습니다",
		"Cut a head's power, without a shutdown, and prove it":                                          "헤드의 전원을 종료 절차 없이 끊고 확인합니다",
		"Fencing is off: the agents switch nobody off (fencing.enabled).":                               "펜싱이 꺼져 있습니다: 에이전트는 아무 헤드의 전원도 끊지 않습니다 (fencing.enabled).",
		"Cut the power of %s? Type its name: ":                                                          "%s 의 전원을 끊습니까? 이름을 입력하십시오: ",
		"that is not %s: nothing was switched off":                                                      "%s 이(가) 아닙니다: 아무 전원도 끊지 않았습니다",
		"%s is off: %s, asked from %s\n":                                                                "%s 의 전원이 꺼졌습니다: %s (%s 에서 확인)\n",
		"%s may be on: %w":                                                                              "%s 의 전원이 아직 켜져 있을 수 있습니다: %w",
		"no other head answered":                                                                        "응답한 다른 헤드가 없습니다",
		"nothing was switched off: there is no terminal to ask on; give --confirm with the head's name": "아무 전원도 끊지 않았습니다: 물어볼 터미널이 없습니다. --confirm 에 헤드 이름을 주십시오",
		"Nothing was changed.":                                                                          "아무것도 바뀌지 않았습니다.",
		"%s was not reached and is left alone: %v\n":                                                    "%s 에 닿지 못해 그대로 둡니다: %v\n",
		"Go on? [y/N] ": "계속할까요? [y/N] ",
		"The cluster changed while the plan was shown. The plan is now:":                               "계획을 보여 주는 동안 클러스터가 바뀌었습니다. 지금의 계획은 이렇습니다:",
		"Stopped. Start it again with: multihead up":                                                   "멈췄습니다. 다시 시작하려면: multihead up",
		"\nFinishing the steps that run; Ctrl-C again stops at once.":                                  "\n진행 중인 단계를 마칩니다. Ctrl-C를 한 번 더 누르면 바로 멈춥니다.",
		"\nStopped. Half done:":                                                                        "\n멈췄습니다. 하다 만 것:",
		"The password is still needed: %v\n":                                                           "비밀번호가 아직 필요합니다: %v\n",
		"The hosts finish the command they are at. Run up again to carry on.":                          "호스트들은 하던 명령을 마칩니다. up을 다시 실행하면 이어서 합니다.",
		"The run of %s by %s was cut off (last: %s %s on %s). Carrying on from what the hosts show.\n": "%s 에 %s 님이 시작한 실행이 끊겼습니다 (마지막: %s %s, %s). 호스트들의 지금 상태에서 이어서 합니다.\n",
		"%s: not begun\n":       "%s: 시작하지 않았습니다\n",
		"%s: rolled back: %s\n": "%s: 되돌렸습니다: %s\n",
		"%s: rolled back as far as it goes: %s; these stay:\n":            "%s: 되돌릴 수 있는 데까지 되돌렸습니다: %s; 남는 것:\n",
		"\nAs the file says, with all heads up the cluster %s.\n":         "\n파일대로 모든 헤드가 정상이면 이 클러스터는 %s.\n",
		"With all heads up it %s.\nNow it is not that: %s":                "모든 헤드가 정상이면 %s.\n지금은 그렇지 않습니다: %s",
		"With all heads up it %s.\nWhat it can lose now is not known: %s": "모든 헤드가 정상이면 %s.\n지금 얼마나 잃어도 되는지는 알 수 없습니다: %s",
		"%d of %d heads active, %s, cluster %s\n":                         "헤드 %[2]d대 중 %[1]d대 활성, %[3]s, 클러스터 %[4]s\n",
		"%s on %s":           "%s 보유 헤드 %s",
		"%s not known where": "%s 보유 헤드 알 수 없음",
		"%s on no head":      "%s 보유 헤드 없음",
		"no head answered":   "응답한 헤드가 없습니다",
		"Nothing to stop on the hosts that answered; what still runs on %s is not known.\n": "응답한 호스트에는 멈출 것이 없습니다. %s 에서 무엇이 아직 도는지는 알 수 없습니다.\n",
		"No changes on the hosts that answered; not reached: %s.\n":                         "응답한 호스트에는 변경이 없습니다. 닿지 못한 호스트: %s.\n",
		"Stopped on the hosts that answered; what still runs on %s is not known.\n":         "응답한 호스트에서 멈췄습니다. %s 에서 무엇이 아직 도는지는 알 수 없습니다.\n",
		"Waiting: %v. It gives way at the end of its step.\n":                               "기다리는 중: %v. 지금 하는 단계가 끝나면 비켜 줍니다.\n",
		"nothing was changed": "아무것도 바뀌지 않았습니다",
		"  what to do: ":      "  할 일: ",
		"refused: ":           "거절: ",
		"run up again to carry on; the record of this run is ":                                                   "up을 다시 실행하면 이어서 합니다; 이 실행의 기록: ",
		"the plan was carried out, and this is still needed: run up again; if it stays, look at the lines above": "계획을 마쳤지만 아직 남은 것이 있습니다: up을 다시 실행하십시오. 그래도 남으면 위의 줄들을 보십시오",
		"The result shows what else is needed:":                                                                  "결과를 보니 더 필요한 것이 있습니다:",
		"nothing that up can change, and the cluster is %s":                                                      "up이 바꿀 것은 없지만 클러스터가 %s 상태입니다",
		"nothing was changed: there is no terminal to ask on; say --yes to go on without asking":                 "아무것도 바뀌지 않았습니다: 물어볼 터미널이 없습니다. 묻지 않고 계속하려면 --yes 를 쓰십시오",
		"Break the cluster on purpose, measure what clients see, and check that nothing was lost":                "클러스터를 일부러 고장 내고, 클라이언트가 겪는 것을 재고, 잃은 것이 없는지 확인합니다",
		"List what can be broken, and what should come of it":                                                    "무엇을 고장 낼 수 있고 어떻게 되어야 하는지 보여 줍니다",
		"Run drills: by name, or by number for all of that number":                                               "훈련을 실행합니다: 이름으로, 또는 번호로 그 번호 전부를",
		"the cluster did not hold":                                                                               "클러스터가 견디지 못했습니다",
		"held":                                                                                                   "견딤",
		"BROKE":                                                                                                  "실패",
		"nothing was changed: this breaks the cluster on purpose; say --confirm %s":                              "아무것도 바뀌지 않았습니다: 클러스터를 일부러 고장 내는 명령입니다. --confirm %s 를 쓰십시오",
		"This breaks the cluster on purpose. Type its name (%s) to go on: ":                                      "클러스터를 일부러 고장 냅니다. 계속하려면 클러스터 이름(%s)을 입력하십시오: ",
		"Well again by itself: p50 %s, worst %s after the fault was undone. Runs: %d.\n":                         "고장을 없앤 뒤 스스로 정상이 되기까지: p50 %s, 최악 %s. 실행 %d회.\n",
		"The volume was written to on %s; compute nodes do not mount it.\n":                                      "볼륨에는 %s 에서 썼습니다. 계산 노드는 볼륨을 마운트하지 않습니다.\n",
		// runs
		"run": "실행", "cluster": "클러스터", "command": "명령", "who": "누가", "record": "기록", "began": "시작",
		"ended": "끝", "last seen": "마지막 기록", "cause": "원인", "error": "오류",
		"What was changed: by whom, when, by what plan, how it ended and how long each step took": "무엇이 바뀌었는지: 누가, 언제, 어떤 계획으로, 결과와 단계마다 걸린 시간",
		"List the runs, newest first":                                            "실행 기록을 최근 것부터 보여 줍니다",
		"Show one run: the plan, what became of each step, and how long it took": "실행 하나를 보여 줍니다: 계획, 단계마다의 결과와 걸린 시간",
		"No run is on record here. --all looks on the heads as well.":            "여기에는 실행 기록이 없습니다. --all 은 헤드들에서도 찾습니다.",
		"%s, from %s":           "%s (%s 에서)",
		"on %s":                 "%s 에 있음",
		"%s, after %s":          "%s (%s 걸림)",
		"%s: not ended\n":       "%s: 끝나지 않음\n",
		"%s: failed after %s\n": "%s: %s 만에 실패\n",
		"%s: done in %s\n":      "%s: %s 만에 완료\n",
		// bundle
		"Packages and tool in one directory, for sites without the internet":                 "인터넷이 없는 사이트를 위해 패키지와 도구를 디렉터리 하나에 담습니다",
		"Gather every package with all it depends on, and this tool, as a signed repository": "모든 패키지와 의존 패키지, 이 도구를 서명한 저장소로 모읍니다",
		"Read a whole bundle and name what is missing or damaged":                            "번들 전체를 읽고 빠지거나 손상된 것을 알려 줍니다",
		"%s: bundle %s for Debian %s (%s), %d packages, %d MB, multihead %s\n":               "%s: 번들 %s, Debian %s (%s), 패키지 %d개, %d MB, multihead %s\n",
		"digest  %s\n": "다이제스트  %s\n",
		"In the cluster file: installation: {offline_mode: true, offline_package_dir: %s}\n": "클러스터 파일에: installation: {offline_mode: true, offline_package_dir: %s}\n",
		// maintenance
		"Work on a head: the address and Slurm's primary go elsewhere, and no agent interferes":  "헤드에서 작업하기: VIP와 Slurm 주 컨트롤러를 다른 헤드로 옮기고 에이전트는 간섭하지 않습니다",
		"Begin: hand over what the head serves alone, and leave it alone until the time is over": "시작: 그 헤드만 하던 일을 넘기고, 정한 시간까지 그 헤드를 그대로 둡니다",
		"End: start what was stopped, and let the head serve again":                              "끝: 멈췄던 것을 시작하고 다시 서비스하게 합니다",
		"List the heads in maintenance: since when, until when, by whom and why":                 "유지보수 중인 헤드 목록: 언제부터, 언제까지, 누가, 왜",
		"%s is %s":                                    "%s: %s",
		"%s is not in maintenance.\n":                 "%s 은(는) 유지보수 중이 아닙니다.\n",
		"The maintenance of %s is over.":              "%s 의 유지보수를 마쳤습니다.",
		"%s is left alone: %s\n":                      "%s 은(는) 그대로 둡니다: %s\n",
		"No head that is known of is in maintenance.": "알려진 헤드 가운데 유지보수 중인 것이 없습니다.",
		"something else is wrong already, and without this head as well the cluster may not serve:": "이미 다른 문제가 있어, 이 헤드까지 빠지면 클러스터가 서비스하지 못할 수 있습니다:",
		"mend that first, or go on all the same with":                                               "먼저 그것을 고치십시오. 그래도 계속하려면",
		// node add, remove, replace
		"Add a host to the cluster, take one out, or put another head in one's place":                   "클러스터에 호스트를 넣고, 빼고, 헤드를 다른 호스트로 바꿉니다",
		"Add a host: write it into the cluster file and bring it in, the others serving on":             "호스트를 클러스터 파일에 적고 클러스터에 넣습니다. 나머지는 계속 서비스합니다",
		"Take hosts out of the cluster, the others serving on, and out of the cluster file":             "호스트를 클러스터와 클러스터 파일에서 뺍니다. 나머지는 계속 서비스합니다",
		"Put a fresh host in a head's place: the head leaves, the host joins with its part of the file": "헤드의 자리에 새 호스트를 넣습니다: 헤드가 빠지고, 호스트가 파일의 그 자리를 이어받습니다",
		"the file would not be usable after this change":                                                "이렇게 바꾸면 파일을 쓸 수 없게 됩니다",
		"%s changes:\n":              "%s 에서 바뀌는 것:\n",
		"%s has no copy of it: %v":   "%s 에 사본이 없습니다: %v",
		"%s could not take its copy": "%s 이(가) 사본을 받지 못했습니다",
		"%s could not be changed (%w), so that nothing was done; it is to be changed once the hosts have left":                          "%s 을(를) 바꿀 수 없어 (%w) 아무것도 하지 않았습니다. 이 파일은 호스트가 떠난 뒤에 바뀌어야 합니다",
		"what switches the old %s off is taken out of the file: write the new machine's own device below fencing.devices, and run up\n": "이전 %s 의 전원을 끄는 장치를 파일에서 뺍니다. 새 기계의 장치를 fencing.devices 아래에 쓰고 up 을 실행하십시오\n",
		"%s was changed by somebody else meanwhile and is left as it is; run the command again":                                         "%s 을(를) 그 사이 다른 사람이 바꾸어 그대로 둡니다. 명령을 다시 실행하십시오",
		"%s is changed; the old one is %s\n":                                                                              "%s 을(를) 바꾸었습니다. 이전 파일: %s\n",
		"nothing was changed: there is no terminal to ask on; say --confirm %s":                                           "아무것도 바뀌지 않았습니다: 물어볼 터미널이 없습니다. --confirm %s 를 쓰십시오",
		"nothing was changed: %q is not this cluster's name, which is %s":                                                 "아무것도 바뀌지 않았습니다: %q 은(는) 이 클러스터의 이름이 아닙니다. 이름은 %s 입니다",
		"%s was not reached: %w":                                                                                          "%s 에 닿지 못했습니다: %w",
		"Then the hosts that stay are brought to the file, as multihead up does.":                                         "그다음 남는 호스트를 multihead up 처럼 파일에 맞춥니다.",
		"%s leaves the cluster. Type the cluster's name (%s) to go on: ":                                                  "%s 이(가) 클러스터에서 빠집니다. 계속하려면 클러스터 이름(%s)을 입력하십시오: ",
		"the plan was carried out, and this is still needed: run the command again; if it stays, look at the lines above": "계획을 마쳤지만 아직 남은 것이 있습니다: 명령을 다시 실행하십시오. 그래도 남으면 위의 줄들을 보십시오",
		"the file still names them: the same command again carries on, up takes them back in; the record of this run is ": "파일에는 아직 그 헤드가 있습니다: 같은 명령을 다시 실행하면 이어서 하고, up은 도로 넣습니다; 이 실행의 기록: ",
		// backup and restore
		"Make, list, verify and forget snapshots of the cluster's state":                                    "클러스터 상태의 스냅샷을 만들고, 나열하고, 확인하고, 지웁니다",
		"Make a snapshot now, copy it to every head, read every copy back":                                  "지금 스냅샷을 만들어 모든 헤드에 복사하고 모든 사본을 다시 읽습니다",
		"List the snapshots, and which heads have them":                                                     "스냅샷과 그것을 가진 헤드를 나열합니다",
		"Read snapshots back from every head's disk and compare them with what was stored":                  "모든 헤드의 디스크에서 스냅샷을 다시 읽어 저장한 것과 비교합니다",
		"Forget snapshots that the file's retention does not keep":                                          "파일의 보존 규칙이 남기지 않는 스냅샷을 지웁니다",
		"backups are off in the cluster file: write shared_storage.backup.enabled: true, then multihead up": "클러스터 파일에서 백업이 꺼져 있습니다: shared_storage.backup.enabled: true 를 쓰고 multihead up 을 실행하십시오",
		"the record of this run is ":                                                                        "이 실행의 기록: ",
		"Snapshot %s is on %s, read back and whole.\n":                                                      "스냅샷 %s: %s 에 있으며, 다시 읽어 온전함을 확인했습니다.\n",
		"%s was not reached and has no copy":                                                                "%s 에 닿지 못해 사본이 없습니다",
		"There is no snapshot yet: multihead backup create makes one.":                                      "아직 스냅샷이 없습니다: multihead backup create 로 만듭니다.",
		"%s on %s: whole\n": "%s (%s): 온전함\n",
		"Nothing to forget: the retention keeps every snapshot there is.":          "지울 것 없음: 보존 규칙이 모든 스냅샷을 남깁니다.",
		"%s exists and is left alone; --only database --database %s replaces it\n": "%s 은(는) 있으므로 그대로 둡니다. --only database --database %s 로 바꿀 수 있습니다\n",
		"Nothing is missing of what the snapshot has.":                             "스냅샷에 있는 것 가운데 없어진 것이 없습니다.",
		"Restored from %s, compared, and on every head that answered.":             "%s 에서 되살리고 비교했으며, 응답한 모든 헤드에 있습니다.",
		"nothing was changed: %s would be replaced; say --confirm %s":              "아무것도 바뀌지 않았습니다: %s 이(가) 바뀝니다. --confirm %s 를 쓰십시오",
		"%s will be as of %s. Type the cluster's name (%s) to go on: ":             "%s 이(가) %s 시점의 것이 됩니다. 계속하려면 클러스터 이름(%s)을 입력하십시오: ",
		// restore of the other parts, and off-site copies
		"Bring databases, Redis, Slurm's state, the volume, configuration or all back from a snapshot":       "스냅샷에서 데이터베이스, Redis, Slurm 상태, 볼륨, 설정 또는 전부를 되살립니다",
		"Bring snapshots from another repository to a head: the off-site copies, onto a cluster formed anew": "다른 저장소의 스냅샷을 헤드로 가져옵니다: 새로 만든 클러스터에 외부 사본을 가져올 때",
		"Warning: ": "경고: ",
		"Nothing came that was not there already.":                                                                               "새로 가져온 것이 없습니다.",
		"%d snapshots came to %s; the newest, %s, was read back and is whole.\n":                                                 "스냅샷 %d개를 %s 에 가져왔습니다. 가장 새로운 %s 을(를) 다시 읽어 온전함을 확인했습니다.\n",
		"Keep %s and the cluster file away from the cluster too: without that key nobody reads a snapshot, and it is in none.\n": "%s 와(과) 클러스터 파일을 클러스터 밖에도 보관하십시오: 이 키 없이는 누구도 스냅샷을 읽을 수 없고, 키는 스냅샷에 들어 있지 않습니다.\n",
		"Daemons read configuration files when they start: look at multihead plan, and restart what reads them.":                 "데몬은 시작할 때 설정 파일을 읽습니다: multihead plan 을 보고, 그 파일을 읽는 데몬을 다시 시작하십시오.",
		// rotate
		"Change passwords, the munge key or the agents' certificates while the cluster serves": "클러스터가 서비스하는 동안 비밀번호, munge 키, 에이전트 인증서를 바꿉니다",
		"Give all hosts a new munge key":                                                                                                                   "모든 호스트에 새 munge 키를 줍니다",
		"Give the agents a new authority and new certificates":                                                                                             "에이전트에 새 인증 기관과 새 인증서를 줍니다",
		"Move to the passwords that were changed in the cluster file: both are good until --finish":                                                        "클러스터 파일에서 바꾼 비밀번호로 옮깁니다: --finish 전까지는 둘 다 쓸 수 있습니다",
		"No changes: all hosts have one munge key, made %s ago. --older-than 0s replaces it all the same.":                                                 "변경 없음: 모든 호스트의 munge 키가 같고 %s 전에 만들었습니다. 그래도 바꾸려면 --older-than 0s.",
		"All hosts have the new munge key, and each has proven it.":                                                                                        "모든 호스트가 새 munge 키를 가졌고 각각 확인했습니다.",
		"No changes: the agents' authority was made %s ago. --older-than 0s replaces it all the same.":                                                     "변경 없음: 에이전트의 인증 기관은 %s 전에 만들었습니다. 그래도 바꾸려면 --older-than 0s.",
		"The agents know each other by the new authority alone.":                                                                                           "이제 에이전트는 새 인증 기관으로만 서로를 압니다.",
		"the cluster is not well, and what is away now would miss the rotation:":                                                                           "클러스터가 정상이 아니며, 지금 없는 것은 교체에서 빠집니다:",
		"Mend that first: multihead status, multihead up.":                                                                                                 "먼저 그것을 고치십시오: multihead status, multihead up.",
		"Then what the cluster itself uses is moved to the new passwords, as multihead up does. The old ones stay good.":                                   "그다음 클러스터 자신이 쓰는 것을 multihead up 처럼 새 비밀번호로 옮깁니다. 이전 것도 계속 쓸 수 있습니다.",
		"The cluster uses the new passwords, and the old ones are good as well. Give your clients the new ones, then: multihead rotate passwords --finish": "클러스터는 새 비밀번호를 쓰고, 이전 것도 쓸 수 있습니다. 클라이언트를 새것으로 바꾼 다음: multihead rotate passwords --finish",
		"No changes: the cluster uses the passwords of the file.":                                                                                          "변경 없음: 클러스터는 파일의 비밀번호를 씁니다.",
		"The cluster uses the passwords of the file.":                                                                                                      "클러스터는 파일의 비밀번호를 씁니다.",
		"Older ones are good as well, until: multihead rotate passwords --finish":                                                                          "이전 것도 쓸 수 있습니다. 끝내려면: multihead rotate passwords --finish",
		"No changes: the passwords of the file are the only ones that are good.":                                                                           "변경 없음: 파일의 비밀번호만 쓸 수 있습니다.",
		"Only the passwords of the file are good now.":                                                                                                     "이제 파일의 비밀번호만 쓸 수 있습니다.",
		"the same command again carries on; the record of this run is ":                                                                                    "같은 명령을 다시 실행하면 이어서 합니다; 이 실행의 기록: ",
		// upgrade
		"Upgrade the packages of the services, one head at a time, while the cluster serves":                       "클러스터가 서비스하는 동안 서비스 패키지를 헤드 하나씩 업그레이드합니다",
		"Reading what the hosts' package sources offer.":                                                           "호스트의 패키지 소스가 제공하는 것을 읽습니다.",
		"%s: its package lists are as they were: %v\n":                                                             "%s: 패키지 목록을 새로 읽지 못해 이전 것을 씁니다: %v\n",
		"No changes: the packages of the services are the newest that are offered, and multihead is this one.":     "변경 없음: 서비스 패키지는 제공되는 것 가운데 최신이고 multihead도 이 버전입니다.",
		"The package lists are as of the hosts' last update; without --dry-run they are brought up to date first.": "패키지 목록은 호스트에서 마지막으로 갱신한 때의 것입니다. --dry-run 이 없으면 먼저 갱신합니다.",
		"stopped before the next host, those before it are done":                                                   "다음 호스트 앞에서 멈췄습니다. 앞의 호스트는 마쳤습니다",
		"Waiting until the cluster is well again.":                                                                 "클러스터가 다시 정상이 되기를 기다립니다.",
		"the cluster is up again, as it was before the head that failed":                                           "클러스터는 실패한 헤드 이전 상태로 다시 정상입니다",
		"the cluster is not well: %v":                                                                              "클러스터가 정상이 아닙니다: %v",
		"heads not named above were not touched. See why with multihead runs show last, then multihead upgrade again: it goes on where it ended. The record of this run is ": "위에 나오지 않은 헤드는 건드리지 않았습니다. 원인은 multihead runs show last 로 보고, multihead upgrade 를 다시 실행하면 이어서 합니다. 이 실행의 기록: ",
		// node add and remove, of compute nodes and witnesses
		"Waiting for: %s\n":           "기다리는 중: %s\n",
		"after %s there is still: %s": "%s 뒤에도 남아 있습니다: %s",
		"interrupted while it waited": "기다리던 중에 중단했습니다",
		"%s: no new jobs are taken there; the same command goes on. To take it back: scontrol update nodename=%[1]s state=resume": "%s: 새 작업을 받지 않습니다. 같은 명령을 다시 실행하면 이어서 합니다. 되돌리려면: scontrol update nodename=%[1]s state=resume",
		// backup verify --restore-in-lab
		"nothing was done: a rehearsal makes a lab on the machine that it is started on, and that cannot be made here:":                                  "아무것도 하지 않았습니다. 복원 연습은 실행한 컴퓨터에 실습 환경을 만드는데, 여기서는 만들 수 없습니다:",
		"nothing was done: the lab %[1]s is there already, of a rehearsal that runs, was kept or was killed. multihead lab down --name %[1]s removes it": "아무것도 하지 않았습니다. 실행 중이거나, 남겨 두었거나, 강제로 끝난 복원 연습의 실습 환경 %[1]s 이(가) 이미 있습니다. multihead lab down --name %[1]s 로 지웁니다",
		"nothing was done: %[1]s has %[2]s free, and the rehearsal may take %[3]s. Make room, or name another disk's directory in %[4]s":                 "아무것도 하지 않았습니다. %[1]s 에 %[2]s 가 비어 있고, 복원 연습에는 %[3]s 까지 필요할 수 있습니다. 자리를 만들거나 %[4]s 에 다른 디스크의 디렉터리를 지정하십시오",
		"The snapshot has no cluster file (items: configs): the rehearsal is formed by the one at hand.":                                                 "스냅샷에 클러스터 파일이 없어(items: configs) 지금 있는 파일로 만듭니다.",
		"Rehearsing %s, read from %s, in the lab %s: %s.\n":                                                                                              "복원 연습: 스냅샷 %s (%s 에서 읽음), 실습 환경 %s (%s).\n",
		"The snapshot %s came back whole: formed in %s, restored in %s.\n":                                                                               "스냅샷 %s 이(가) 온전히 돌아왔습니다: 클러스터 구성 %s, 복원 %s.\n",
		"The lab %[1]s stays. It has the data and the passwords of the real cluster.\n":                                                                  "실습 환경 %[1]s 을(를) 남겨 둡니다. 실제 클러스터의 데이터와 비밀번호가 들어 있습니다.\n",
		"the snapshot has nothing that could be compared":                                                                                                "스냅샷에 비교할 수 있는 것이 없습니다",
		"not equal to the snapshot: %s": "스냅샷과 다릅니다: %s",
		"interrupted":                   "중단했습니다",
		// questions under the lock
		"The cluster is locked meanwhile: without an answer within %s nothing is done.\n":                                                                                                                      "그동안 클러스터가 잠겨 있습니다: %s 안에 답이 없으면 아무것도 하지 않습니다.\n",
		"not answered in time: nothing of this was done, and the cluster is not locked any more; run the command again":                                                                                        "제때 답이 없었습니다: 이 가운데 아무것도 하지 않았고 클러스터는 더 이상 잠겨 있지 않습니다. 명령을 다시 실행하십시오",
		"the file still names them: the same command again carries on. To keep them: multihead up, and then, for it leaves them drained, scontrol update nodename=%s state=resume; the record of this run is ": "파일에는 아직 남아 있습니다. 같은 명령을 다시 실행하면 이어서 합니다. 그대로 두려면 multihead up 을 실행한 다음, up 은 drain 상태를 풀지 않으므로, scontrol update nodename=%s state=resume 을 실행하십시오. 이 실행의 기록: ",
		"  its lines are not shown: %v\n": "  바뀌는 줄을 보이지 않습니다: %v\n",
	}
}

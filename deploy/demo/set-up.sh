#!/bin/sh
# A whole federation set up in one place, to look at: one coordinator and three sites, whose homes
# get what their own people would make. In earnest each site runs its own commands on its own
# machine, and people compare digests by phone: here one script plays them all.
#
# set-up.sh FED SITES NODES SOCKET HOST [PORT]
#   FED     the coordinator's folder
#   SITES   folder with a folder for each site: its agent's home is made there
#   NODES   the same for the sites' nodes
#   SOCKET  path of an agent's socket as agent and node see it; SITE in it stands for the site
#   HOST    name by which sites reach the coordinator
set -eu
fed=$1 sites=$2 nodes=$3 socket=$4 host=$5 port=${6:-8443}
here=$(cd "$(dirname "$0")" && pwd)
furnish=${FURNISH_NODE:-$here/../site/furnish-node}

if [ -f "$fed/roster.json" ]; then
  echo "set up already: $fed"
  exit 0
fi

hedgerow coordinator init "$fed" --name demo --host "$host" --port "$port"

# Rows of the UCI Heart Disease study at three of its four hospitals.
for site in cleveland:303 hungary:294 va_long_beach:200; do
  name=${site%%:*} rows=${site##*:}
  hedgerow site init "$sites/$name/site" --name "$name" --federation demo --task heart \
    --dataset "heart/$name" --rows "$rows" --epsilon 4
  hedgerow coordinator enroll "$fed" "$sites/$name/site/$name.request"
done

bundle=$(hedgerow coordinator bundle "$fed")
hedgerow coordinator roster sign "$fed"
digest=$(hedgerow coordinator roster show "$fed" | sed -n 's/^roster //p')

for name in cleveland hungary va_long_beach; do
  home=$sites/$name/site
  hedgerow site join "$home" "$fed/packages/$name.hedgerow" --roster-digest "$digest"
  hedgerow coordinator roster accept "$fed" "$home/$name.countersign"
  # Unread, which only a demo may: what they print is what a site's people are to look at.
  hedgerow site approve "$home" "${bundle#*  }" --yes --note "demo" >/dev/null
  hedgerow site approve-task "$home" heart --yes >/dev/null
  agent_socket=$(echo "$socket" | sed "s/SITE/$name/")
  ln -sfn "$agent_socket" "$home/agent.sock"
  HEDGEROW_SOCKET=$agent_socket "$furnish" "$home" "$nodes/$name/site"
done
echo "set up: $fed and three sites"

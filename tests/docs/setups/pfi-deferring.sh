# A project of `pfiflow new` that runs against the simulators, in the background; the session is in its folder.
# The mail server puts docteur.test off.
pfiflow new my-pfi > new.log
cd my-pfi || exit
sed -i 's/sim mail/sim mail --refuse docteur.test@demo.mssante.fr=450/' simulators
./simulators > simulators.log 2>&1 &
until [ "$(grep -c listening simulators.log)" = 3 ]; do sleep 0.1; done
set -a
. ./.env
set +a
pfiflow run routes.yaml 2> run.log &
PFI=$!
until grep -q "route transmission running" run.log; do sleep 0.1; done

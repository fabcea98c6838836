# A project of `pfiflow new`; the session is in its folder.
pfiflow new my-pfi > new.log
cd my-pfi || exit

"""The deployment type on Akash."""

from tracker.model.catalogue.forms import COMMON, NUMBER, machine
from tracker.model.catalogue.vocabulary import Entry, Form

ENTRIES = {
    "AkashLease": Entry(
        platform="akash",
        summary="A deployment on Akash",
        module="akash.lease",
        # dseq, or the Rust tracker's dseq/gseq/oseq.
        ids=machine(
            Form(rf"{NUMBER}(?:/[1-9][0-9]{{0,9}}/[1-9][0-9]{{0,9}})?", "18237654/1/1", kind="akash:deployment")
        ),
        needs_one_of=(("instance_id",),),
        metadata={**COMMON, "owner": Form("akash1[0-9a-z]{38}", "akash1" + "q" * 38)},
    ),
}

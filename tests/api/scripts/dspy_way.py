"""DSPy: a teacher's answers become a training file, a job is waited for, and its model answers in the program."""

import os
import sys
from pathlib import Path

import dspy
from dspy.clients import openai as provider

base, epochs = sys.argv[1], int(sys.argv[2])
model = dspy.LM(f"openai/{base}", api_base=os.environ["OPENAI_BASE_URL"], api_key=os.environ["OPENAI_API_KEY"],
                temperature=0.0, max_tokens=200, cache=False)  # fmt: skip
dspy.configure(lm=model)
program = dspy.Predict("question -> answer")
program.set_lm(model)
examples = [dspy.Example(question=f"Item {i}?", answer="Blue").with_inputs("question") for i in range(24)]
tuner = dspy.BootstrapFinetune(train_kwargs={"n_epochs": epochs, "batch_size": 4}, num_threads=1)
tuned = tuner.compile(program, trainset=examples)
print("tuned", tuned.lm.model)
job = provider.TrainingJobOpenAI()
with Path(sys.argv[3]).open("rb") as opened:
    job.provider_file_id = provider.openai.files.create(file=opened, purpose="fine-tune").id
job.provider_job_id = provider.openai.fine_tuning.jobs.create(model=base, training_file=job.provider_file_id).id
assert job.status() in (provider.TrainingStatus.pending, provider.TrainingStatus.running)
number, file = job.provider_job_id, job.provider_file_id
job.cancel()
assert provider.openai.fine_tuning.jobs.retrieve(number).status == "cancelled"
assert not provider.OpenAIProvider.does_file_exist(file)
print("whole")

-- The rule of job_submit/flexmig, as a site would write it for job_submit/lua: requests for leaves
-- are checked against policy and rewritten to a type, and what the user left out is filled in.
-- `filter_call` compares the time of the two; both must do the same work.

local GRES = "flexmig"
local DEFAULT_PARTITION = "gpu"
-- Smallest first, with the leaves that one node has.
local TYPES = {
    { name = "1g.10gb", memory = 10, per_node = 28 },
    { name = "2g.20gb", memory = 20, per_node = 8 },
    { name = "3g.40gb", memory = 40, per_node = 4 },
}
local PARTITIONS = { gpu = true, train = true }
local SPAN_PARTITIONS = { gpu = true, train = true }
local MAX_PER_NODE = 28
local MAX_PER_JOB = 112

local function reject(text, code)
    slurm.log_info("flexmig: %s", text)
    slurm.log_user("flexmig: " .. text)
    return code or 2072 -- ESLURM_INVALID_GRES
end

local function find_type(label)
    if label == nil then
        return TYPES[1]
    end
    local gigabytes = tonumber(string.match(label, "^(%d+)gb$"))
    for _, kind in ipairs(TYPES) do
        if kind.name == label or (gigabytes and kind.memory >= gigabytes) then
            return kind
        end
    end
    return nil
end

function slurm_job_submit(job, partitions, uid)
    local request = job.tres_per_node
    if request == nil or not string.find(request, GRES, 1, true) then
        return slurm.SUCCESS
    end

    local written = {}
    local kind, count, asked
    for item in string.gmatch(request, "[^,]+") do
        local rest = string.match(item, "^gres[:/]" .. GRES .. "(.*)$")
        if rest == nil then
            written[#written + 1] = item
        else
            if count then
                return reject("named twice: name one request")
            end
            asked = GRES .. rest
            local label, number = string.match(rest, "^:([^:=]+)[:=](%d+)$")
            if label == nil then
                number = string.match(rest, "^[:=](%d+)$")
                if number == nil then
                    label = string.match(rest, "^:([^:=]+)$")
                end
            end
            count = tonumber(number or "1")
            if count == nil or count < 1 then
                return reject("--gres=" .. asked .. ": a count must be at least 1")
            end
            kind = find_type(label)
            if kind == nil then
                return reject("--gres=" .. asked .. ": no such profile")
            end
            written[#written + 1] = "gres:" .. GRES .. ":" .. kind.name .. ":" .. count
        end
    end

    local partition = job.partition or DEFAULT_PARTITION
    for name in string.gmatch(partition, "[^,]+") do
        if not PARTITIONS[name] then
            return reject("no partition " .. name)
        end
        if count > 1 and not SPAN_PARTITIONS[name] then
            return reject("jobs of partition " .. name .. " may hold one leaf",
                slurm.ESLURM_ACCESS_DENIED)
        end
    end
    local most = math.min(MAX_PER_NODE, kind.per_node)
    if count > most then
        local nodes = math.ceil(count / most)
        local why, code = "no node has " .. count .. " leaves of " .. kind.name, 2072
        if count > MAX_PER_NODE then
            why = "site policy allows at most " .. MAX_PER_NODE .. " leaves per node"
            code = slurm.ESLURM_ACCESS_DENIED
        end
        return reject("--gres=" .. asked .. ": " .. why .. ": type -N " .. nodes .. " --gres="
            .. GRES .. ":" .. kind.name .. ":" .. math.ceil(count / nodes), code)
    end

    local nodes = 1
    if job.min_nodes == slurm.NO_VAL and job.max_nodes == slurm.NO_VAL then
        job.min_nodes = 1
        job.max_nodes = 1
    else
        nodes = job.min_nodes
    end
    if count * nodes > MAX_PER_JOB then
        return reject("--gres=" .. asked .. ": site policy allows at most " .. MAX_PER_JOB
            .. " leaves per job", slurm.ESLURM_ACCESS_DENIED)
    end

    local tasks = ""
    if job.script ~= nil then
        if job.num_tasks == slurm.NO_VAL and job.ntasks_per_node == slurm.NO_VAL16 then
            job.num_tasks = count * nodes
            job.min_cpus = count * nodes
            job.ntasks_per_node = count
            tasks = ", " .. count * nodes .. " tasks"
        end
        job.environment["FLEXMIG_REQUEST"] = kind.name .. ":" .. count
    end
    job.tres_per_node = table.concat(written, ",")

    local note = "[flexmig:v1 req=" .. string.sub(asked, #GRES + 2) .. " got=" .. kind.name .. ":"
        .. count .. " why=smallest]"
    if job.admin_comment then
        note = job.admin_comment .. " " .. note
    end
    job.admin_comment = note
    slurm.log_debug("flexmig: uid %d: %s", uid, note)
    slurm.log_user("flexmig: --gres=" .. asked .. ": " .. count .. " leaves of " .. kind.name
        .. " on one node" .. tasks)
    return slurm.SUCCESS
end

function slurm_job_modify(job, record, partitions, uid)
    return slurm.SUCCESS
end

return slurm.SUCCESS
